"""What a site says is taken, or refused: its Hello, its sums, the class statistics of its devices. Pure."""

from __future__ import annotations

import numpy as np

from broker_server.rules.admission import COUNT_ROUNDING, Checked, Identity, check_sender
from broker_server.rules.norms import kind_of
from broker_server.rules.site_sums import SumClaims, SumRules, claims_of, mean_norm, read_sums, sum_claims
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.experts import BankShape


def check_site(hello: pb.Hello, identity: Identity, *, takes_sums: bool) -> None:
    """Refuse a Hello that speaks for more devices than its name may.

    Raises:
        WireError: MALFORMED, with what to do.
    """
    if hello.devices > identity.site:
        may = f"may speak for {identity.site} devices" if identity.site else "is no site here"
        wanted = f"list it in server.sites of this gateway, as {identity.device}:{hello.devices}"
        raise WireError(pb.MALFORMED, f"{identity.device} speaks for {hello.devices} devices, and {may}; {wanted}")
    if identity.site and not hello.devices:
        raise WireError(pb.MALFORMED, f"{identity.device} is the name of a site here, and a device came with it")
    if hello.devices and not takes_sums:
        raise WireError(pb.MALFORMED, "this gateway takes no sums of sites: server.exact_sums is off here")


def check_partial_statistics(
    statistics: pb.PartialStatistics, identity: Identity, federation: bytes, shape: BankShape, examples: int
) -> None:
    """Refuse what a site's devices are said to have in classes. Args and Raises: as ``check_statistics``."""
    check_sender(identity, statistics.device)
    if statistics.federation_digest != federation:
        raise WireError(pb.WRONG_FEDERATION, "class statistics of another federation's features")
    counts = np.frombuffer(statistics.counts, "<f8")
    if (counts.size, statistics.width) != (shape.labels, shape.width):
        got, want = f"{counts.size} labels of {statistics.width}", f"{shape.labels} of {shape.width}"
        raise WireError(pb.WRONG_SIZE, f"class statistics for {got} values, expected {want}")
    if statistics.devices > identity.site:
        detail = f"class statistics of {statistics.devices} devices, this site may speak for {identity.site}"
        raise WireError(pb.MALFORMED, detail)
    total = float(counts.sum())
    if total <= 0:
        raise WireError(pb.NO_EXAMPLES, "class statistics of 0 examples")
    if total > examples * (1 + COUNT_ROUNDING) + 0.5 * statistics.devices:
        raise WireError(pb.MALFORMED, f"class statistics of {total:.6g} examples, the Hello tells of {examples}")
    sums = np.frombuffer(statistics.sums, "<f8").reshape(shape.labels, shape.width)
    if (np.linalg.norm(sums, axis=1) > counts * 1.001 + 1e-3 * statistics.devices).any():
        raise WireError(pb.MALFORMED, "a class sum is longer than its count of unit features allows")


def check_sums(total: pb.PartialSum, shape: BankShape) -> Checked:
    """Look at a site's sum by itself, as ``check_values`` does at a delta."""
    claims = claims_of(total)
    norms: dict[str, float] = {}
    sizes: dict[str, int] = {}
    try:
        blocks = read_sums(total, shape)
    except WireError as error:
        return Checked(claims, {}, {}, error, summed=SumClaims(SumRules(0, normalized=False), total.devices, 0.0))
    for block, one in blocks.items():
        kind = kind_of(block)
        sizes[kind] = max(sizes.get(kind, 0), one.size)
        norms[kind] = max(norms.get(kind, 0.0), mean_norm(one))
    return Checked(claims, norms, sizes, summed=sum_claims(total, blocks))
