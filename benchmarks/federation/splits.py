"""Training texts -> one share for each client, by seed: every arm of a seed gets the same shares. Pure.

Axes: n texts, C labels, K clients.

- ``iid``: at random.
- ``dirichlet:A``: each label's texts over the clients by a draw from Dirichlet(A) (Yurochkin et al. 2019, arXiv
  1905.12022; Li et al. 2021, arXiv 2102.02079).
- ``shards:N``: texts sorted by label are cut into N shards for each client (McMahan et al. 2017, arXiv 1602.05629).
- ``natural``: a client is a person, those who wrote most first; who wrote too little is joined by further persons.
- ``mixed:A``: each client draws from one or two sets of a mixture, by ``dirichlet:A`` within each set.

Where a draw leaves a client fewer than ``at_least`` texts, the client with most texts at that moment gives what lacks.
Li et al. draw again instead, which for six labels, 20 clients and A = 0.1 never ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.federation.texts import Part, TextSet

AT_LEAST: Final = 20
"""Texts of every client."""
Rows = NDArray[np.int64]


def split(kind: str, texts: TextSet, clients: int, seed: int, at_least: int = AT_LEAST) -> list[Rows]:
    """Return, for each client, the rows of its training texts, ascending; no text is given twice.

    Raises:
        ValueError: for an unknown kind, or a set that cannot be split so (too few texts, no users, no mixture).
    """
    name, _, number = kind.partition(":")
    random = np.random.default_rng(seed)
    rows = texts.rows(Part.TRAIN)
    if len(rows) < clients * at_least:
        raise ValueError(f"{len(rows)} training texts give {clients} clients less than {at_least} each; take fewer")
    if name == "iid" and not number:
        shares = np.array_split(random.permutation(rows), clients)
    elif name == "dirichlet" and number:
        shares = _dirichlet(texts, rows, [list(range(clients))], float(number), random)
    elif name == "shards" and number:
        shares = _shards(texts.targets[rows], rows, clients, int(number), random)
    elif name == "natural" and not number:
        shares = _persons(texts.users[rows], rows, clients, at_least, random)
    elif name == "mixed" and number:
        shares = _dirichlet(texts, rows, _homes(texts, clients, random), float(number), random)
    else:
        raise ValueError(f"unknown split {kind!r}; known: iid, dirichlet:A, shards:N, natural, mixed:A")
    return [np.sort(share) for share in _filled(list(shares), at_least, random)]


def _dirichlet(
    texts: TextSet, rows: Rows, homes: Sequence[Sequence[int]], alpha: float, random: np.random.Generator
) -> list[Rows]:
    """Share out each label's texts among the clients at home in its set. Args: homes: clients of each origin."""
    clients = 1 + max(client for home in homes for client in home)
    parts: list[list[Rows]] = [[] for _ in range(clients)]
    for label in range(len(texts.labels)):
        own = random.permutation(rows[texts.targets[rows] == label])
        if not len(own):
            continue
        home = homes[int(texts.origins[own[0]])]
        cuts = np.rint(np.cumsum(random.dirichlet([alpha] * len(home))[:-1]) * len(own)).astype(int)
        for client, part in zip(home, np.split(own, cuts), strict=True):
            parts[client].append(part)
    return [np.concatenate(part) if part else np.empty(0, np.int64) for part in parts]


def _homes(texts: TextSet, clients: int, random: np.random.Generator) -> list[list[int]]:
    """Return the clients of each set of a mixture: each client has one set, every second one another as well.

    The sets take turns, so that each has its clients.

    Raises:
        ValueError: when the texts are of one set.
    """
    origins = int(texts.origins.max()) + 1
    if origins == 1 or clients < origins:
        raise ValueError(
            f"{origins} sets for {clients} clients: a mixed split needs several sets, and a client for each"
        )
    order = random.permutation(clients)
    homes: list[list[int]] = [[] for _ in range(origins)]
    for place, client in enumerate(order):
        homes[place % origins].append(int(client))
        if random.random() < 0.5:
            homes[(place + 1 + int(random.integers(origins - 1))) % origins].append(int(client))
    return homes


def _shards(
    targets: NDArray[np.uint16], rows: Rows, clients: int, each: int, random: np.random.Generator
) -> list[Rows]:
    """Cut texts sorted by label, at random within a label, into ``each`` shards a client."""
    order = random.permutation(len(rows))
    ordered = rows[order[np.argsort(targets[order], kind="stable")]]
    shards = np.array_split(ordered, clients * each)
    dealt = random.permutation(len(shards)).reshape(clients, each)
    return [np.concatenate([shards[i] for i in hand]) for hand in dealt]


def _persons(
    users: NDArray[np.int32], rows: Rows, clients: int, at_least: int, random: np.random.Generator
) -> list[Rows]:
    """Give each client a person, and further whole persons until it has ``at_least`` texts.

    Raises:
        ValueError: when the set names fewer users than there are clients.
    """
    names, counts = np.unique(users[users >= 0], return_counts=True)
    if len(names) < clients:
        raise ValueError(f"{len(names)} users for {clients} clients; a natural split needs a user for each")
    order = names[np.argsort(-counts, kind="stable")]
    further = iter(random.permutation(order[clients:]))
    shares = []
    for person in order[:clients]:
        share = rows[users == person]
        while len(share) < at_least and (another := next(further, None)) is not None:
            share = np.concatenate([share, rows[users == another]])
        shares.append(share)
    return shares


def _filled(shares: list[Rows], at_least: int, random: np.random.Generator) -> list[Rows]:
    """Move texts from the client with most to those with fewer than ``at_least``."""
    for client in range(len(shares)):
        while len(shares[client]) < at_least:
            richest = max(range(len(shares)), key=lambda one: len(shares[one]))
            lacking = min(at_least - len(shares[client]), len(shares[richest]) - at_least)
            given, kept = np.split(random.permutation(shares[richest]), [lacking])
            shares[client], shares[richest] = np.concatenate([shares[client], given]), kept
    return shares


def label_counts(shares: Sequence[Rows], texts: TextSet) -> NDArray[np.int64]:
    """Return [K, C]: texts of each label that each client has."""
    return np.stack([np.bincount(texts.targets[share], minlength=len(texts.labels)) for share in shares])
