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


# A row of W numbers is held as a tuple of PARTS tensors of BLOCK columns: 3072 numbers in three of 1024 leave no thread
# idle, in one of 4096 a quarter. What stands in brackets for each n in `(0, 1, 2)[:PARTS]` is such a tuple.


@triton.jit
def _row(source, columns, W: tl.constexpr, WHOLE: tl.constexpr):
    """Columns of a row in float32; 0 where there are none, and all of them are there in a WHOLE row."""
    return tl.load(source + columns).to(tl.float32) if WHOLE else _wide(source + columns, columns < W)


@triton.jit
def _write_row(target, values, columns, W: tl.constexpr, WHOLE: tl.constexpr):
    """Write columns of a row in the target's precision."""
    if WHOLE:
        tl.store(target + columns, values.to(target.dtype.element_ty))
    else:
        tl.store(target + columns, values.to(target.dtype.element_ty), mask=columns < W)


@triton.jit
def _of_frame(source, strides, frame, frames):
    """Where what one latent frame of [B, F, 1, W] has begins."""
    return source + (frame // frames).to(tl.int64) * strides[0] + (frame % frames).to(tl.int64) * strides[1]


@triton.jit
def _folded(parts):
    """The sum of parts, column by column."""
    total = parts[0]
    for n in tl.static_range(1, len(parts)):
        total += parts[n]
    return total


@triton.jit
def _largest(parts):
    """The largest size of a number of a row."""
    highest = tl.abs(parts[0])
    for n in tl.static_range(1, len(parts)):
        highest = tl.maximum(highest, tl.abs(parts[n]))
    return tl.max(highest, 0)


@triton.jit
def _normed(values, columns, eps, W: tl.constexpr, WHOLE: tl.constexpr, PARTS: tl.constexpr):
    """(values - mean) / deviation over a row, 0 where there is no column; and 1 / deviation."""
    mean = tl.sum(_folded(values), 0) / W
    if WHOLE:
        centred = [values[n] - mean for n in (0, 1, 2)[:PARTS]]
    else:
        centred = [tl.where(columns[n] < W, values[n] - mean, 0.0) for n in (0, 1, 2)[:PARTS]]
    squares = [centred[n] * centred[n] for n in (0, 1, 2)[:PARTS]]
    inverse = 1.0 / tl.sqrt(tl.sum(_folded(squares), 0) / W + eps)
    return [centred[n] * inverse for n in (0, 1, 2)[:PARTS]], inverse


@triton.jit
def _added(a, b, c, d):
    """Two sums at once."""
    return a + c, b + d


@triton.jit
def residual_norm_kernel(
    x, branch, gate, scale, shift, total, out, row_scale,
    gate_strides, scale_strides, shift_strides, frames, tokens, base, eps,
    W: tl.constexpr, BLOCK: tl.constexpr, PARTS: tl.constexpr, ROWS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """total = x + gate * branch; out = norm(total) * (base + scale) + shift, where `row_scale` is there as e4m3.

    Grid: blocks of ROWS tokens of a frame, B * F. Tokens are contiguous. Without a `branch`, `total` is None too.
    """
    tl.static_assert(PARTS <= 3, "a row is held in three parts at most")
    whole: tl.constexpr = W == PARTS * BLOCK
    frame = tl.program_id(1)
    columns = [n * BLOCK + tl.arange(0, BLOCK) for n in (0, 1, 2)[:PARTS]]
    scales, shifts = _of_frame(scale, scale_strides, frame, frames), _of_frame(shift, shift_strides, frame, frames)
    factor = [base + _row(scales, columns[n], W, whole) for n in (0, 1, 2)[:PARTS]]
    offset = [_row(shifts, columns[n], W, whole) for n in (0, 1, 2)[:PARTS]]
    if gate is not None:
        of_frame = _of_frame(gate, gate_strides, frame, frames)
        gates = [_row(of_frame, columns[n], W, whole) for n in (0, 1, 2)[:PARTS]]
    first = tl.program_id(0) * ROWS
    for token in tl.range(first, tl.minimum(first + ROWS, tokens), num_stages=STAGES):
        row = frame.to(tl.int64) * tokens + token
        at = row * W
        values = [_row(x + at, columns[n], W, whole) for n in (0, 1, 2)[:PARTS]]
        if branch is not None:
            update = [_row(branch + at, columns[n], W, whole) for n in (0, 1, 2)[:PARTS]]
            if gate is not None:
                update = [update[n] * gates[n] for n in (0, 1, 2)[:PARTS]]
            # what is normed is what is kept, so that the gradient sees the same numbers
            kept = [(values[n] + update[n]).to(total.dtype.element_ty) for n in (0, 1, 2)[:PARTS]]
            for n in tl.static_range(PARTS):
                _write_row(total + at, kept[n], columns[n], W, whole)
            values = [kept[n].to(tl.float32) for n in (0, 1, 2)[:PARTS]]
        normed, _ = _normed(values, columns, eps, W, whole, PARTS)
        # 0 where there is no column
        result = [normed[n] * factor[n] + offset[n] for n in (0, 1, 2)[:PARTS]]
        if row_scale is not None:
            unit = tl.maximum(_largest(result) / FP8_LARGEST, FP8_LEAST_SCALE)
            tl.store(row_scale + row, unit)
            inverse = 1.0 / unit
            result = [result[n] * inverse for n in (0, 1, 2)[:PARTS]]
        for n in tl.static_range(PARTS):
            _write_row(out + at, result[n], columns[n], W, whole)


@triton.jit
def residual_norm_backward_kernel(
    total_grad, out_grad, total, branch, gate, scale, x_grad, branch_grad, sums,
    gate_strides, scale_strides, frames, tokens, base, eps,
    W: tl.constexpr, BLOCK: tl.constexpr, PARTS: tl.constexpr, ROWS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Gradients of tokens and branch, and of scale, shift and gate summed over the tokens of a program.

    With n = norm(total), d = 1 / deviation and g = out_grad * (base + scale):
    x_grad = total_grad + d * (g - mean(g) - n * mean(g * n)), branch_grad = gate * x_grad.

    Grid: blocks of ROWS tokens of a frame, B * F. `sums` is [2 or 3, B * F, blocks, W] for scale, shift and, where
    there is one, gate. Without a gate there is no `branch_grad`: it is `x_grad`.
    """
    tl.static_assert(PARTS <= 3, "a row is held in three parts at most")
    whole: tl.constexpr = W == PARTS * BLOCK
    frame = tl.program_id(1)
    columns = [n * BLOCK + tl.arange(0, BLOCK) for n in (0, 1, 2)[:PARTS]]
    scales = _of_frame(scale, scale_strides, frame, frames)
    factor = [base + _row(scales, columns[n], W, whole) for n in (0, 1, 2)[:PARTS]]
    scale_sum = [tl.zeros([BLOCK], tl.float32) for n in (0, 1, 2)[:PARTS]]
    shift_sum = [tl.zeros([BLOCK], tl.float32) for n in (0, 1, 2)[:PARTS]]
    if gate is not None:
        of_frame = _of_frame(gate, gate_strides, frame, frames)
        gates = [_row(of_frame, columns[n], W, whole) for n in (0, 1, 2)[:PARTS]]
        gate_sum = [tl.zeros([BLOCK], tl.float32) for n in (0, 1, 2)[:PARTS]]
    first = tl.program_id(0) * ROWS
    for token in tl.range(first, tl.minimum(first + ROWS, tokens), num_stages=STAGES):
        at = (frame.to(tl.int64) * tokens + token) * W
        values = [_row(total + at, columns[n], W, whole) for n in (0, 1, 2)[:PARTS]]
        normed, inverse = _normed(values, columns, eps, W, whole, PARTS)
        slopes = [_row(out_grad + at, columns[n], W, whole) for n in (0, 1, 2)[:PARTS]]
        shift_sum = [shift_sum[n] + slopes[n] for n in (0, 1, 2)[:PARTS]]
        scale_sum = [scale_sum[n] + slopes[n] * normed[n] for n in (0, 1, 2)[:PARTS]]
        # 0 where there is no column
        slopes = [slopes[n] * factor[n] for n in (0, 1, 2)[:PARTS]]
        along = [slopes[n] * normed[n] for n in (0, 1, 2)[:PARTS]]
        slope_sum, along_sum = tl.reduce((_folded(slopes), _folded(along)), 0, _added)
        mean, slant = slope_sum / W, along_sum / W
        result = [inverse * (slopes[n] - mean - normed[n] * slant) for n in (0, 1, 2)[:PARTS]]
        if total_grad is not None:
            result = [result[n] + _row(total_grad + at, columns[n], W, whole) for n in (0, 1, 2)[:PARTS]]
        for n in tl.static_range(PARTS):
            _write_row(x_grad + at, result[n], columns[n], W, whole)
        if gate is not None:
            branches = [_row(branch + at, columns[n], W, whole) for n in (0, 1, 2)[:PARTS]]
            gate_sum = [gate_sum[n] + result[n] * branches[n] for n in (0, 1, 2)[:PARTS]]
            for n in tl.static_range(PARTS):
                _write_row(branch_grad + at, result[n] * gates[n], columns[n], W, whole)
    blocks = tl.num_programs(0)
    share = tl.num_programs(1).to(tl.int64) * blocks * W
    target = sums + (frame.to(tl.int64) * blocks + tl.program_id(0)) * W
    for n in tl.static_range(PARTS):
        _write_row(target, scale_sum[n], columns[n], W, whole)
        _write_row(target + share, shift_sum[n], columns[n], W, whole)
        if gate is not None:
            _write_row(target + 2 * share, gate_sum[n], columns[n], W, whole)


@triton.jit
def _angles(rope, at, tokens, exists, D: tl.constexpr):
    """Cosines and sines of tokens and pairs, `at` in a contiguous table [2, N, D] whose second half of D repeats the
    first."""
    return _wide(rope + at, exists), _wide(rope + at + tl.cast(tokens, tl.int64) * D, exists)


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
