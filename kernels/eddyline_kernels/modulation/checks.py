"""What the calls of modulation may be given."""

from torch import Tensor

from eddyline_kernels.errors import KernelInputError


def check_residual_norm(x: Tensor, scale: Tensor, shift: Tensor, branch: Tensor | None, gate: Tensor | None) -> None:
    """Check that tokens, what is added to them and what modulates them fit together.

    Raises:
        KernelInputError: shapes, dtypes or devices do not fit, or there is a gate for no branch.
    """
    given = {"x": x, "scale": scale, "shift": shift, "branch": branch, "gate": gate}
    named = {name: t for name, t in given.items() if t is not None}
    if x.ndim != 4:
        raise KernelInputError(f"x {tuple(x.shape)} has {x.ndim} axes; pass [B, F, S, W]")
    batch, frames, _, width = x.shape
    per_frame = (batch, frames, 1, width)
    for name in ("scale", "shift", "gate"):
        allowed = (per_frame,) if name == "gate" else (per_frame, (width,))
        if name in named and tuple(named[name].shape) not in allowed:
            raise KernelInputError(
                f"{name} {tuple(named[name].shape)} does not fit x {tuple(x.shape)}; pass "
                + " or ".join(map(str, allowed))
            )
    if scale.shape != shift.shape:
        raise KernelInputError(f"scale {tuple(scale.shape)} and shift {tuple(shift.shape)} differ; pass one shape")
    if branch is None and gate is not None:
        raise KernelInputError("there is a gate but no branch for it; pass both, or no gate")
    if branch is not None and (branch.shape != x.shape or branch.dtype != x.dtype):
        raise KernelInputError(
            f"x {tuple(x.shape)} of {x.dtype} and branch {tuple(branch.shape)} of {branch.dtype} differ; "
            "pass one shape and dtype"
        )
    _check_floats(named)


def check_norm_rotate(qkv: Tensor, q_weight: Tensor, k_weight: Tensor, rope: Tensor) -> None:
    """Check that a packed QKV, weights and rotary positions fit together.

    Raises:
        KernelInputError: shapes, dtypes or devices do not fit, or the positions want a gradient.
    """
    if qkv.ndim != 5 or qkv.shape[2] != 3 or qkv.shape[-1] % 2:
        raise KernelInputError(f"qkv {tuple(qkv.shape)} is no [B, N, 3, H, D] with an even D; pass such a tensor")
    _, tokens, _, _, dim = qkv.shape
    for name, weight in (("q_weight", q_weight), ("k_weight", k_weight)):
        if weight.shape != (dim,):
            raise KernelInputError(f"{name} {tuple(weight.shape)} does not fit qkv {tuple(qkv.shape)}; pass ({dim},)")
    if q_weight.dtype != k_weight.dtype:
        raise KernelInputError(f"q_weight is {q_weight.dtype}, k_weight {k_weight.dtype}; pass one dtype")
    if rope.shape != (2, tokens, dim):
        raise KernelInputError(
            f"rope {tuple(rope.shape)} does not fit qkv {tuple(qkv.shape)}; pass (2, {tokens}, {dim})"
        )
    if rope.requires_grad:
        raise KernelInputError(f"rope {tuple(rope.shape)} has no gradient; detach it")
    _check_floats({"qkv": qkv, "q_weight": q_weight, "k_weight": k_weight, "rope": rope})


def _check_floats(named: dict[str, Tensor]) -> None:
    if len({t.device for t in named.values()}) > 1:
        where = ", ".join(f"{name} is on {t.device}" for name, t in named.items())
        raise KernelInputError(f"{where}; move them to one device")
    for name, t in named.items():
        if not t.is_floating_point():
            raise KernelInputError(f"{name} {tuple(t.shape)} is {t.dtype}; convert it to a floating dtype")
