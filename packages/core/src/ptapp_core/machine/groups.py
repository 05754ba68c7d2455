"""How many ranks share one copy of the weights, in a job in which no rank has all of them."""

from ptapp_core.errors import UserError, counted


def refuse_other_groups(world: int, tensor_ranks: int, precision: str) -> None:
    """Raises UserError where `world` ranks are no groups of `tensor_ranks`, or the precision needs another form."""
    if world % tensor_ranks:
        raise UserError(
            f"--tensor {tensor_ranks}: {counted(world, 'rank')} cannot be groups of {tensor_ranks} that compute each "
            f"layer together: give --nproc {tensor_ranks}, or a multiple of it"
        )
    if precision == "fp16":
        raise UserError("--tensor does not scale the loss, as --precision fp16 must: give bf16 or fp32")


def ranks_of_a_copy(world: int, shard_ranks: int | None, precision: str) -> int:
    """How many of the `world` ranks share a copy: `shard_ranks` that follow each other, or all where that is None.

    Raises UserError where there is nothing to share, ranks would be left over, or the precision needs another form.
    """
    if world == 1:
        raise UserError(
            "--parallel fsdp and hsdp give each rank a share, and there is one rank: give --nproc 2 or more, or "
            "--parallel ddp"
        )
    if precision == "fp16":
        raise UserError("--parallel fsdp and hsdp do not scale the loss, as --precision fp16 must: give bf16 or fp32")
    if shard_ranks is None:
        return world
    if shard_ranks < 2:
        raise UserError(
            "--parallel hsdp shares the weights out among the ranks of a machine, and this one has a single rank: give "
            "--nproc 2 or more, --shard-ranks N, or --parallel ddp"
        )
    if world % shard_ranks:
        raise UserError(
            f"--parallel hsdp: {world} ranks are no multiple of the {shard_ranks} that share the weights: give a "
            f"--shard-ranks that divides {world}, or --parallel fsdp"
        )
    return shard_ranks
