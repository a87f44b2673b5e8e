"""Named things that users can add to: cells, criteria, expansions, Fishers, proposals, sources."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


class Registry(dict[str, T]):
    """A dict whose names are given once: `CRITERIA["mine"] = Mine` adds an entry.

    Raises:
        ValueError: the name is taken by something else, or is not one that a command line takes.
    """

    def __init__(self, kind: str, /, **entries: T) -> None:
        super().__init__(entries)
        self.kind = kind

    def __setitem__(self, name: str, entry: T) -> None:
        if not name or any(sign.isspace() or sign in ",=/" for sign in name):
            raise ValueError(
                f"{self.kind}: expected a name without spaces, commas, = and /, got {name!r}"
            )
        if self.get(name, entry) is not entry:
            raise ValueError(f"{self.kind}: the name {name!r} is taken; choose another one")
        super().__setitem__(name, entry)

    def find(self, name: str) -> T:
        """The entry called `name`.

        Raises:
            ValueError: there is none; the message lists those that there are.
        """
        if name not in self:
            raise ValueError(f"{self.kind}: expected one of {', '.join(self)}, got {name!r}")
        return self[name]
