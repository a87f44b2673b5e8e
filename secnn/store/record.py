"""What a trial tells: records, and the schemas of the Parquet files that hold them.

Needs no PyTorch, so that analysis can read records anywhere.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class EpochRecord:
    """An epoch. Accuracies are per cent, times seconds; `parameters` to `val_accuracy` belong to
    the network that was trained in this epoch, before `expansion`, which follows the evaluation.

    `channels` and `layers` list the blocks, as in "16-16-20"; `kernel` and `precision` are what
    "auto" came to on the machine of that epoch. `eta_current` is η_c, the two ratios
    are the best candidates' η_reg/η_c, null where nothing was scored; `logit_change` is max |Δ| of
    the logits at the expansion divided by their standard deviation. `score_seconds` is what
    deciding and growing took. `rung` counts the stretches of epochs
    between which the criterion was asked, from 1; null with schedule "plateau".
    """

    epoch: int
    parameters: int
    flops: int
    channels: str
    layers: str
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    kernel: str
    precision: str
    expansion: str | None
    eta_current: float | None
    best_layer_ratio: float | None
    best_channels_ratio: float | None
    logit_change: float | None
    train_seconds: float
    eval_seconds: float
    score_seconds: float
    rung: int | None = None


@dataclass(frozen=True)
class ExpansionRecord:
    """A candidate that was considered after `epoch`, chosen or not, with the decision's reason.
    `channels` is null for a layer, `expansion` is the whole of it as JSON. The scores are null for
    criteria that do not ask for them; they are those of `secnn.growth.candidates.Candidate`: `gain`
    is η − η_c, `gain_unbiased` the same without its sampling noise, with the 95 % interval
    `gain_low` to `gain_high`; `predicted_reduction` is in nats. For the chosen one
    `realised_reduction` is how far, in nats, the validation loss fell over the cooldown that
    followed (null until it is over), `reduction_before` over as many epochs before, where there
    were as many."""

    epoch: int
    kind: str
    block: int | None
    channels: int | None
    added_parameters: int
    eta: float | None
    eta_regularized: float | None
    ratio: float | None
    gain: float | None
    gain_unbiased: float | None
    gain_low: float | None
    gain_high: float | None
    gain_per_parameter: float | None
    density: float | None
    predicted_reduction: float | None
    chosen: bool
    reason: str
    logit_change: float | None
    reduction_before: float | None = None
    realised_reduction: float | None = None
    expansion: str | None = None


@dataclass(frozen=True)
class TrialRecord:
    """A finished trial. The best epoch is the first with the highest validation accuracy, and
    `test_accuracy` that of the network of that epoch."""

    epochs: int
    best_val_accuracy: float
    best_epoch: int
    parameters_at_best: int
    test_accuracy: float
    final_parameters: int
    expansions: int
    seconds: float


_TYPES = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}


def schema(record: type, **identity: type) -> pa.Schema:
    """The Parquet schema of a record class, the columns `identity` (name → type) first."""
    columns = {**identity, **typing.get_type_hints(record)}
    return pa.schema([_field(name, hint) for name, hint in columns.items()])


def _field(name: str, hint: type | types.UnionType) -> pa.Field:
    kinds = [kind for kind in typing.get_args(hint) or (hint,) if kind is not type(None)]
    return pa.field(name, _TYPES[kinds[0]], nullable=len(typing.get_args(hint)) > 0)


def table(records: list, record: type, identity: dict) -> pa.Table:
    """Records of one class as an Arrow table, `identity` (column → value) in every row."""
    rows = [{**identity, **dataclasses.asdict(r)} for r in records]
    kinds = {name: type(value) for name, value in identity.items()}
    return pa.Table.from_pylist(rows, schema=schema(record, **kinds))
