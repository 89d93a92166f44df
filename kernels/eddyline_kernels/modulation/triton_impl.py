"""Modulation in Triton: residual + norm + scale and shift, and norm + rotary positions. Needs Triton to be imported.

All of it is bound by memory: each kernel reads what it needs once and writes what it makes once, and computes in
float32 (values in bf16 are only loaded, cast and stored, as Triton's interpreter needs it). Sums over tokens are kept
by each program for the tokens it owns and stored apart; the caller adds them up, always in the same order.

Shapes: B batch, F latent frames, S tokens per frame, W width, N tokens, H heads, D head dimension.
"""

import triton
import triton.language as tl

from eddyline_kernels import formats

FP8_LARGEST = tl.constexpr(formats.FP8_LARGEST)
FP8_LEAST_SCALE = tl.constexpr(formats.FP8_LEAST_SCALE)


@triton.jit
def _wide(source, mask):
    """Numbers in float32; 0 where there are none."""
    return tl.load(source, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _of_frame(source, strides, frame, frames, columns, mask):
    """What one latent frame of [B, F, 1, W] has for the columns."""
    at = (frame // frames).to(tl.int64) * strides[0] + (frame % frames).to(tl.int64) * strides[1]
    return _wide(source + at + columns, mask)


@triton.jit
def _normed(values, mask, eps, W: tl.constexpr):
    """(values - mean) / deviation over a row, 0 where there is no column; and 1 / deviation."""
    centred = tl.where(mask, values - tl.sum(values, 0) / W, 0.0)
    inverse = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / W + eps)
    return centred * inverse, inverse


@triton.jit
def _added(a, b, c, d):
    """Two sums at once."""
    return a + c, b + d


@triton.jit
def residual_norm_kernel(
    x, branch, gate, scale, shift, total, out, row_scale,
    gate_strides, scale_strides, shift_strides, frames, tokens, base, eps,
    W: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """total = x + gate * branch; out = norm(total) * (base + scale) + shift, where `row_scale` is there as e4m3.

    Grid: blocks of ROWS tokens of a frame, B * F. Tokens are contiguous. Without a `branch`, `total` is None too.
    """
    frame = tl.program_id(1)
    columns = tl.arange(0, BLOCK)
    mask = columns < W
    factor = base + _of_frame(scale, scale_strides, frame, frames, columns, mask)
    offset = _of_frame(shift, shift_strides, frame, frames, columns, mask)
    if gate is not None:
        gates = _of_frame(gate, gate_strides, frame, frames, columns, mask)
    first = tl.program_id(0) * ROWS
    for token in tl.range(first, tl.minimum(first + ROWS, tokens), num_stages=STAGES):
        row = frame.to(tl.int64) * tokens + token
        at = row * W + columns
        values = _wide(x + at, mask)
        if branch is not None:
            update = _wide(branch + at, mask)
            if gate is not None:
                update *= gates
            # what is normed is what is kept, so that the gradient sees the same numbers
            kept = (values + update).to(total.dtype.element_ty)
            tl.store(total + at, kept, mask=mask)
            values = kept.to(tl.float32)
        normed, _ = _normed(values, mask, eps, W)
        result = normed * factor + offset
        if row_scale is not None:
            unit = tl.maximum(tl.max(tl.where(mask, tl.abs(result), 0.0), 0) / FP8_LARGEST, FP8_LEAST_SCALE)
            tl.store(row_scale + row, unit)
            result *= 1.0 / unit
        tl.store(out + at, result.to(out.dtype.element_ty), mask=mask)


@triton.jit
def residual_norm_backward_kernel(
    total_grad, out_grad, total, branch, gate, scale, x_grad, branch_grad, sums,
    gate_strides, scale_strides, frames, tokens, base, eps,
    W: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Gradients of tokens and branch, and of scale, shift and gate summed over the tokens of a program.

    With n = norm(total), d = 1 / deviation and g = out_grad * (base + scale):
    x_grad = total_grad + d * (g - mean(g) - n * mean(g * n)), branch_grad = gate * x_grad.

    Grid: blocks of ROWS tokens of a frame, B * F. `sums` is [2 or 3, B * F, blocks, W] for scale, shift and, where
    there is one, gate. Without a gate there is no `branch_grad`: it is `x_grad`.
    """
    frame = tl.program_id(1)
    columns = tl.arange(0, BLOCK)
    mask = columns < W
    factor = base + _of_frame(scale, scale_strides, frame, frames, columns, mask)
    scale_sum = tl.zeros([BLOCK], tl.float32)
    shift_sum = tl.zeros([BLOCK], tl.float32)
    if gate is not None:
        gates = _of_frame(gate, gate_strides, frame, frames, columns, mask)
        gate_sum = tl.zeros([BLOCK], tl.float32)
    first = tl.program_id(0) * ROWS
    for token in tl.range(first, tl.minimum(first + ROWS, tokens), num_stages=STAGES):
        at = (frame.to(tl.int64) * tokens + token) * W + columns
        normed, inverse = _normed(_wide(total + at, mask), mask, eps, W)
        slopes = _wide(out_grad + at, mask)
        shift_sum += slopes
        scale_sum += slopes * normed
        slopes = tl.where(mask, slopes * factor, 0.0)
        both, along = tl.reduce((slopes, slopes * normed), 0, _added)
        result = inverse * (slopes - both / W - normed * (along / W))
        if total_grad is not None:
            result += _wide(total_grad + at, mask)
        tl.store(x_grad + at, result.to(x_grad.dtype.element_ty), mask=mask)
        if gate is not None:
            gate_sum += result * _wide(branch + at, mask)
            tl.store(branch_grad + at, (result * gates).to(branch_grad.dtype.element_ty), mask=mask)
    blocks = tl.num_programs(0)
    part = tl.num_programs(1).to(tl.int64) * blocks * W
    target = sums + (frame.to(tl.int64) * blocks + tl.program_id(0)) * W + columns
    tl.store(target, scale_sum, mask=mask)
    tl.store(target + part, shift_sum, mask=mask)
    if gate is not None:
        tl.store(target + 2 * part, gate_sum, mask=mask)


@triton.jit
def _angles(rope, at, tokens, exists, D: tl.constexpr):
    """Cosines and sines of tokens and pairs, `at` in a contiguous table [2, N, D] whose second half of D repeats the
    first."""
    return _wide(rope + at, exists), _wide(rope + at + tokens * D, exists)


@triton.jit
def _weights(q_weight, k_weight, which, pairs):
    """The learned scale of queries (0) or keys (1) for some of the D numbers, [1, 1, D/2]."""
    q = tl.load(q_weight + pairs).to(tl.float32)
    k = tl.load(k_weight + pairs).to(tl.float32)
    return tl.where(which == 0, q, k)[None, None, :]


@triton.jit
def norm_rotate_kernel(
    qk, q_weight, k_weight, rope, out, strides, tokens, eps,
    HEADS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, BLOCK_H: tl.constexpr,
):  # fmt: skip
    """Queries and keys over their root mean square, times a learned scale, turned by their token's angles.

    Grid: blocks of tokens, 2 (queries, keys), B. `qk` is [B, N, 2, H, D] with any strides but the last, `out` the same
    and contiguous. A program turns BLOCK_H heads of its tokens at a time; pairs (i, i + D/2) are read as two halves.
    """
    which, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    token = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    pairs = tl.arange(0, D // 2)
    exists = (token < tokens)[:, None, None]
    cosine, sine = _angles(rope, token[:, None, None].to(tl.int64) * D + pairs[None, None, :], tokens, exists, D)
    first_weight = _weights(q_weight, k_weight, which, pairs)
    second_weight = _weights(q_weight, k_weight, which, pairs + D // 2)
    source = qk + batch * strides[0] + which.to(tl.int64) * strides[2]
    target = out + (batch * tokens * 2 + which) * (HEADS * D)
    for head in range(0, HEADS, BLOCK_H):
        heads = (head + tl.arange(0, BLOCK_H))[None, :, None]
        at = token[:, None, None].to(tl.int64) * strides[1] + heads * strides[3] + pairs[None, None, :]
        first, second = _wide(source + at, exists), _wide(source + at + D // 2, exists)
        inverse = 1.0 / tl.sqrt(tl.sum(first * first + second * second, 2) / D + eps)[:, :, None]
        first, second = first * inverse * first_weight, second * inverse * second_weight
        at = token[:, None, None].to(tl.int64) * (2 * HEADS * D) + heads * D + pairs[None, None, :]
        tl.store(target + at, (first * cosine - second * sine).to(out.dtype.element_ty), mask=exists)
        tl.store(target + at + D // 2, (second * cosine + first * sine).to(out.dtype.element_ty), mask=exists)


@triton.jit
def _turned_back(
    grad, source, weight, rope, target, sums, grad_strides, strides, first_token, tokens, eps,
    HEADS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, BLOCK_H: tl.constexpr, TURNS: tl.constexpr,
):  # fmt: skip
    """The gradient of queries or of keys for the tokens of a program, and that of their learned scale, summed.

    With n = x / rms, d = 1 / rms and g the gradient turned back: weight_grad = sum(g * n),
    x_grad = d * (g * weight - n * mean(g * weight * n)). A row is a head of a token.
    """
    row = tl.arange(0, BLOCK * BLOCK_H)[:, None]
    pairs = tl.arange(0, D // 2)
    first_weight = tl.load(weight + pairs).to(tl.float32)[None, :]
    second_weight = tl.load(weight + pairs + D // 2).to(tl.float32)[None, :]
    # added up over heads and tokens only once, at the end
    first_sum = tl.zeros([BLOCK * BLOCK_H, D // 2], tl.float32)
    second_sum = tl.zeros([BLOCK * BLOCK_H, D // 2], tl.float32)
    for turn in range(0, TURNS):
        token = (first_token + turn * BLOCK + row // BLOCK_H).to(tl.int64)
        exists = token < tokens
        cosine, sine = _angles(rope, token * D + pairs[None, :], tokens, exists, D)
        for head in range(0, HEADS, BLOCK_H):
            heads = head + row % BLOCK_H
            # all loads come before the first sum over a row, so that they wait for memory together
            at = token * strides[1] + heads * strides[3] + pairs[None, :]
            first, second = _wide(source + at, exists), _wide(source + at + D // 2, exists)
            at = token * grad_strides[1] + heads * grad_strides[2] + pairs[None, :]
            first_turned, second_turned = _wide(grad + at, exists), _wide(grad + at + D // 2, exists)

            inverse = 1.0 / tl.sqrt(tl.sum(first * first + second * second, 1) / D + eps)[:, None]
            first, second = first * inverse, second * inverse
            first_grad = first_turned * cosine + second_turned * sine
            second_grad = second_turned * cosine - first_turned * sine
            first_sum += first_grad * first
            second_sum += second_grad * second
            first_grad *= first_weight
            second_grad *= second_weight
            shared = tl.sum(first_grad * first + second_grad * second, 1)[:, None] / D
            at = token * (3 * HEADS * D) + heads * D + pairs[None, :]
            kind = target.dtype.element_ty
            tl.store(target + at, ((first_grad - first * shared) * inverse).to(kind), mask=exists)
            tl.store(target + at + D // 2, ((second_grad - second * shared) * inverse).to(kind), mask=exists)
    tl.store(sums + pairs, tl.sum(first_sum, 0))
    tl.store(sums + pairs + D // 2, tl.sum(second_sum, 0))


@triton.jit
def norm_rotate_backward_kernel(
    q_grad, k_grad, v_grad, qkv, q_weight, k_weight, rope, qkv_grad, sums,
    q_strides, k_strides, v_strides, strides, tokens, eps,
    HEADS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, BLOCK_H: tl.constexpr, TURNS: tl.constexpr,
):  # fmt: skip
    """The gradient of a packed QKV, and of the learned scales summed over the tokens of a program.

    Gradients of queries, keys and values are read where they lie and written packed: nothing joins them before or
    after.

    Grid: blocks of TURNS * BLOCK tokens, B. `qkv` is [B, N, 3, H, D], its gradient the same and contiguous, those of
    its parts are [B, N, H, D], all with any strides but the last. `sums` is [2, B * blocks, D].
    """
    batch = tl.program_id(1).to(tl.int64)
    first_token = tl.program_id(0) * (TURNS * BLOCK)
    source = qkv + batch * strides[0]
    target = qkv_grad + batch * tokens * (3 * HEADS * D)
    programs = tl.num_programs(0).to(tl.int64) * tl.num_programs(1)
    place = sums + (batch * tl.num_programs(0) + tl.program_id(0)) * D
    _turned_back(
        q_grad + batch * q_strides[0], source, q_weight, rope, target, place,
        q_strides, strides, first_token, tokens, eps, HEADS, D, BLOCK, BLOCK_H, TURNS,
    )  # fmt: skip
    _turned_back(
        k_grad + batch * k_strides[0], source + strides[2], k_weight, rope, target + HEADS * D, place + programs * D,
        k_strides, strides, first_token, tokens, eps, HEADS, D, BLOCK, BLOCK_H, TURNS,
    )  # fmt: skip
    row = tl.arange(0, BLOCK * BLOCK_H)[:, None]
    numbers = tl.arange(0, D)[None, :]
    for turn in range(0, TURNS):
        token = (first_token + turn * BLOCK + row // BLOCK_H).to(tl.int64)
        for head in range(0, HEADS, BLOCK_H):
            heads = head + row % BLOCK_H
            values = v_grad + batch * v_strides[0] + token * v_strides[1] + heads * v_strides[2] + numbers
            at = token * (3 * HEADS * D) + (2 * HEADS + heads) * D + numbers
            tl.store(target + at, tl.load(values, mask=token < tokens), mask=token < tokens)
