"""A trial's network grown anew, from what its files say was done."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from secnn.files import FileError
from secnn.growth.expansion import EXPANSIONS, from_dict
from secnn.network.network import SECNN
from secnn.network.spec import NetworkSpec
from secnn.store import record
from secnn.store.checkpoint import (
    CheckpointError,
    check_layers,
    check_start,
    expect_known,
    other_network,
    read,
)


def replay(path: str | Path) -> SECNN:
    """The shape of a trial's network, made anew: the starting network, freshly drawn, with the
    recorded expansions applied in turn.

    `path` is a checkpoint; the folder of a trial, whose last epoch counts; or the audit log of a
    trial in a study, `logs/expansions/<key>.parquet`, whose chosen rows are applied to the start
    that the trial's last checkpoint tells. The network is in training mode; the slopes of its added
    layers are 1 (see `SECNN.anneal_slopes`).

    Raises:
        CheckpointError: as in `read`, the log cannot be read, or the expansions do not lead to the
            checkpoint's shape.
        FileNotFoundError: there is no such file.
    """
    path = Path(path) / "last.pt" if Path(path).is_dir() else Path(path)
    audited = path.suffix == ".parquet"
    study = path.absolute().parent.parent.parent
    content = read(study / "trials" / path.stem / "last.pt" if audited else path)
    try:
        start, spec = (NetworkSpec.from_dict(content[name]) for name in ("start", "spec"))
        check_layers(spec, content["network"])
        check_start(start, spec)
        network = SECNN(start)
        for fields in _chosen(path) if audited else content["expansions"]:
            expect_known(
                EXPANSIONS, fields["kind"], "EXPANSIONS", f"checkpoint: {path} was grown by"
            )
            from_dict(fields).apply(network)
        _check_shape(network, spec)
    except FileNotFoundError:
        raise
    except FileError as error:
        raise CheckpointError(str(error)) from None
    except Exception as error:  # as in `rebuild`
        raise other_network(path, error) from None
    return network


def _chosen(log: Path) -> list[dict]:
    """The expansions that an audit log says were made, in order, in JSON form."""
    rows = record.read(log, record.ExpansionRecord).to_pylist()
    return [_fields(row) for row in rows if row["chosen"]]


def _fields(row: dict) -> dict:
    if row.get("expansion") is not None:
        return json.loads(row["expansion"])
    # Logs of versions before 0.2 have but the columns of the two kinds that there were.
    names = [field.name for field in dataclasses.fields(EXPANSIONS.find(row["kind"]))]
    return {"kind": row["kind"]} | {n: row[n] for n in names if row.get(n) is not None}


def _check_shape(network: SECNN, spec: NetworkSpec) -> None:
    if network.spec != spec:
        raise ValueError(f"its start and its expansions lead to {network.spec}, not to {spec}")
