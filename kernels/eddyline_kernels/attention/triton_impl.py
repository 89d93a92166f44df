"""Window attention in Triton: forward, and backward in two kernels (dq, then dk and dv). Needs Triton to be imported.

One program owns one block of queries (or keys) of one head and walks over the blocks of its window. Tokens are read
where they lie in the raster: no roll, no partition, no mask matrix. There are two ways to read a block:

- BOX: every size, window and shift is a multiple of a small box of tokens, so a window is a list of whole boxes. A box
  is one TMA load through a descriptor over [B*F, Y, X, H, D], and goes from shared memory straight to the tensor cores.
- otherwise: token i of a window is looked up as (frame, row, column), and rows are gathered through pointers with any
  strides; a block that runs over the end of its window is masked.

Scores are kept in base 2: `scale` is log2(e) / sqrt(D), the log-sum-exp in memory is natural. Values in bf16 are only
loaded, multiplied by `tl.dot` and stored; everything else is float32, as Triton's interpreter needs it.

Shapes: B batch, F frames, Y X token rows and columns, H heads, D head dimension; tuples are (frames, rows, columns).
"""

import triton
import triton.language as tl

LN_2 = tl.constexpr(0.6931471805599453)
LOG2_E = tl.constexpr(1.4426950408889634)
PRECISION = tl.constexpr("tf32x3")
"""How float32 is multiplied: three products of its parts on the tensor cores, nearly as exact as float32."""


@triton.jit
def _axis_window(position, size, window, shift, WRAP: tl.constexpr):
    """First token and length of the window around a position on one axis; a wrapped window may run past the end."""
    begin = (position + window - shift) // window * window - (window - shift)
    start = tl.maximum(begin, 0)
    length = tl.minimum(begin + window, size) - start
    if WRAP:
        start = tl.where(begin < 0, begin + size, begin)
        length = window
    return start, length


@triton.jit
def _window_of(place, size, window, shift, WRAP: tl.constexpr):
    """The window around a token: where it starts, and its tokens along each axis."""
    f, nf = _axis_window(place[0], size[0], window[0], shift[0], WRAP[0])
    y, ny = _axis_window(place[1], size[1], window[1], shift[1], WRAP[1])
    x, nx = _axis_window(place[2], size[2], window[2], shift[2], WRAP[2])
    return (f, y, x), (nf, ny, nx)


@triton.jit
def _split(number, counts):
    """A raster number as (frame, row, column) in a volume of `counts`."""
    return number // (counts[1] * counts[2]), number // counts[2] % counts[1], number % counts[2]


@triton.jit
def _own_block(
    number, size, window, shift, counts, WRAP: tl.constexpr, BOX: tl.constexpr, BLOCK: tl.constexpr, SHAPE: tl.constexpr
):
    """Block `number` of the launch: its window (start, length), and the block's own number in that window.

    `counts` are the boxes along each axis of the volume (BOX), or the windows along each axis and the blocks of each.
    """
    if BOX:
        f, y, x = _split(number, counts)
        place = (f * SHAPE[0], y * SHAPE[1], x * SHAPE[2])
        start, length = _window_of(place, size, window, shift, WRAP)
        # where the box lies in its window; a wrapped window starts before the end and goes on behind it
        df = (place[0] - start[0] + size[0]) % size[0] // SHAPE[0]
        dy = (place[1] - start[1] + size[1]) % size[1] // SHAPE[1]
        dx = (place[2] - start[2] + size[2]) % size[2] // SHAPE[2]
        block = (df * (length[1] // SHAPE[1]) + dy) * (length[2] // SHAPE[2]) + dx
    else:
        blocks = counts[3]
        f, y, x = _split(number // blocks, counts)
        f = tl.where(shift[0] == 0, f * window[0], (f - 1) * window[0] + shift[0])
        y = tl.where(shift[1] == 0, y * window[1], (y - 1) * window[1] + shift[1])
        x = tl.where(shift[2] == 0, x * window[2], (x - 1) * window[2] + shift[2])
        # the first window of a shifted axis starts before the axis does
        place = (
            (f + size[0]) % size[0] if WRAP[0] else tl.maximum(f, 0),
            (y + size[1]) % size[1] if WRAP[1] else tl.maximum(y, 0),
            (x + size[2]) % size[2] if WRAP[2] else tl.maximum(x, 0),
        )
        start, length = _window_of(place, size, window, shift, WRAP)
        block = number % blocks
    return start, length, block


@triton.jit
def _blocks(length, BOX: tl.constexpr, BLOCK: tl.constexpr, SHAPE: tl.constexpr):
    """Blocks in a window."""
    if BOX:
        blocks = (length[0] // SHAPE[0]) * (length[1] // SHAPE[1]) * (length[2] // SHAPE[2])
    else:
        blocks = tl.cdiv(length[0] * length[1] * length[2], BLOCK)
    return blocks


@triton.jit
def _box(block, start, length, size, SHAPE: tl.constexpr):
    """The first token of box number `block` of a window."""
    f, y, x = _split(block, (length[0] // SHAPE[0], length[1] // SHAPE[1], length[2] // SHAPE[2]))
    return (
        (start[0] + f * SHAPE[0]) % size[0],
        (start[1] + y * SHAPE[1]) % size[1],
        (start[2] + x * SHAPE[2]) % size[2],
    )


@triton.jit
def _tokens(block, start, length, size, BOX: tl.constexpr, BLOCK: tl.constexpr, SHAPE: tl.constexpr):
    """(frames, rows, columns) of the tokens of a block, and which of them exist."""
    index = tl.arange(0, BLOCK)
    if BOX:
        first = _box(block, start, length, size, SHAPE)
        f, y, x = _split(index, SHAPE)
        place = (first[0] + f, first[1] + y, first[2] + x)
        valid = index < BLOCK
    else:
        index += block * BLOCK
        f, y, x = _split(index, length)
        place = ((start[0] + f) % size[0], (start[1] + y) % size[1], (start[2] + x) % size[2])
        valid = index < length[0] * length[1] * length[2]
    return place, valid


@triton.jit
def _rows(source, place, strides, batch, head, D: tl.constexpr):
    """Pointers to the D numbers of each token; addresses are 64 bits wide."""
    base = source + batch.to(tl.int64) * strides[0] + head.to(tl.int64) * strides[4]
    rows = place[0].to(tl.int64) * strides[1] + place[1].to(tl.int64) * strides[2] + place[2].to(tl.int64) * strides[3]
    return base + rows[:, None] + tl.arange(0, D)[None, :] * strides[5]


@triton.jit
def _load(
    source, block, start, length, size, place, valid, strides, batch, head,
    D: tl.constexpr, BOX: tl.constexpr, BLOCK: tl.constexpr, SHAPE: tl.constexpr,
):  # fmt: skip
    """The [BLOCK, D] values of a block; rows that do not exist are 0."""
    if BOX:
        f, y, x = _box(block, start, length, size, SHAPE)
        values = source.load([batch * size[0] + f, y, x, head, 0]).reshape(BLOCK, D)
    else:
        values = tl.load(_rows(source, place, strides, batch, head, D), mask=valid[:, None], other=0.0)
    return values


@triton.jit
def _statistics(place, size, batch, head):
    """Where the statistics of tokens lie in a contiguous [B, H, F, Y, X]."""
    volume = size[0] * size[1] * size[2]
    base = (batch * tl.num_programs(1) + head).to(tl.int64) * volume
    return base + (place[0] * size[1] + place[1]) * size[2] + place[2]


@triton.jit
def forward_kernel(
    q, k, v, out, lse,
    q_strides, k_strides, v_strides, out_strides, size, window, shift, counts, scale,
    WRAP: tl.constexpr, D: tl.constexpr, BOX: tl.constexpr, OWN_BOX: tl.constexpr, BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr, Q_BOX: tl.constexpr, K_BOX: tl.constexpr,
):  # fmt: skip
    """out = softmax(q k' / sqrt(D)) v inside each window, and lse = log(sum(exp(q k' / sqrt(D)))).

    Grid: blocks of queries, H, B. `k`, `v` are descriptors (BOX) or pointers, and so is `q` (OWN_BOX).
    """
    head, batch = tl.program_id(1), tl.program_id(2)
    start, length, own = _own_block(tl.program_id(0), size, window, shift, counts, WRAP, BOX, BLOCK_Q, Q_BOX)
    if own >= _blocks(length, BOX, BLOCK_Q, Q_BOX):
        return
    place, valid = _tokens(own, start, length, size, BOX, BLOCK_Q, Q_BOX)
    queries = _load(q, own, start, length, size, place, valid, q_strides, batch, head, D, OWN_BOX, BLOCK_Q, Q_BOX)

    highest = tl.full([BLOCK_Q], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_Q], tl.float32)
    mean = tl.zeros([BLOCK_Q, D], tl.float32)
    for block in range(_blocks(length, BOX, BLOCK_K, K_BOX)):
        there, seen = _tokens(block, start, length, size, BOX, BLOCK_K, K_BOX)
        keys = _load(k, block, start, length, size, there, seen, k_strides, batch, head, D, BOX, BLOCK_K, K_BOX)
        scores = tl.dot(queries, keys.T, input_precision=PRECISION)
        if not BOX:
            scores = tl.where(seen[None, :], scores, float("-inf"))
        higher = tl.maximum(highest, tl.max(scores, 1) * scale)
        weights = tl.exp2(scores * scale - higher[:, None])
        fade = tl.exp2(highest - higher)
        total = total * fade + tl.sum(weights, 1)
        values = _load(v, block, start, length, size, there, seen, v_strides, batch, head, D, BOX, BLOCK_K, K_BOX)
        mean = tl.dot(weights.to(values.dtype), values, mean * fade[:, None], input_precision=PRECISION)
        highest = higher

    mean = mean / total[:, None]
    target = _rows(out, place, out_strides, batch, head, D)
    tl.store(target, mean.to(out.dtype.element_ty), mask=valid[:, None])
    tl.store(lse + _statistics(place, size, batch, head), (highest + tl.log2(total)) * LN_2, mask=valid)


@triton.jit
def dq_kernel(
    q, k, v, out, grad, lse, lse_grad, delta, dq,
    q_strides, k_strides, v_strides, out_strides, grad_strides, size, window, shift, counts, scale,
    WRAP: tl.constexpr, D: tl.constexpr, BOX: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
    Q_BOX: tl.constexpr, K_BOX: tl.constexpr,
):  # fmt: skip
    """Gradient of the queries, and delta = sum(out * grad) - lse_grad for the kernel of keys and values.

    With weights p = exp(s - lse): ds = p (grad v' - delta), dq = ds k / sqrt(D).
    Grid: blocks of queries, H, B. `q`, `k`, `v`, `grad` are descriptors (BOX) or pointers; `dq` lies as `out` does;
    `lse_grad` is None where nothing was made of the log-sum-exp.
    """
    head, batch = tl.program_id(1), tl.program_id(2)
    start, length, own = _own_block(tl.program_id(0), size, window, shift, counts, WRAP, BOX, BLOCK_Q, Q_BOX)
    if own >= _blocks(length, BOX, BLOCK_Q, Q_BOX):
        return
    place, valid = _tokens(own, start, length, size, BOX, BLOCK_Q, Q_BOX)
    queries = _load(q, own, start, length, size, place, valid, q_strides, batch, head, D, BOX, BLOCK_Q, Q_BOX)
    grads = _load(grad, own, start, length, size, place, valid, grad_strides, batch, head, D, BOX, BLOCK_Q, Q_BOX)
    outs = tl.load(_rows(out, place, out_strides, batch, head, D), mask=valid[:, None], other=0.0)
    at = _statistics(place, size, batch, head)
    sums = tl.load(lse + at, mask=valid, other=0.0) * LOG2_E
    deltas = tl.sum(outs.to(tl.float32) * grads.to(tl.float32), 1)
    if lse_grad is not None:
        deltas -= tl.load(lse_grad + at, mask=valid, other=0.0)
    tl.store(delta + at, deltas, mask=valid)

    total = tl.zeros([BLOCK_Q, D], tl.float32)
    for block in range(_blocks(length, BOX, BLOCK_K, K_BOX)):
        there, seen = _tokens(block, start, length, size, BOX, BLOCK_K, K_BOX)
        keys = _load(k, block, start, length, size, there, seen, k_strides, batch, head, D, BOX, BLOCK_K, K_BOX)
        values = _load(v, block, start, length, size, there, seen, v_strides, batch, head, D, BOX, BLOCK_K, K_BOX)
        scores = tl.dot(queries, keys.T, input_precision=PRECISION)
        weights = tl.exp2(scores * scale - sums[:, None])
        if not BOX:
            weights = tl.where(seen[None, :], weights, 0.0)
        slopes = weights * (tl.dot(grads, values.T, input_precision=PRECISION) - deltas[:, None])
        total = tl.dot(slopes.to(keys.dtype), keys, total, input_precision=PRECISION)

    target = _rows(dq, place, out_strides, batch, head, D)
    tl.store(target, (total * (scale * LN_2)).to(dq.dtype.element_ty), mask=valid[:, None])


@triton.jit
def dkdv_kernel(
    q, k, v, grad, lse, delta, dk, dv,
    q_strides, k_strides, v_strides, out_strides, grad_strides, size, window, shift, counts, scale,
    WRAP: tl.constexpr, D: tl.constexpr, BOX: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
    Q_BOX: tl.constexpr, K_BOX: tl.constexpr,
):  # fmt: skip
    """Gradients of keys and values: dv = p' grad, dk = ds' q / sqrt(D), with p and ds as in `dq_kernel`.

    Grid: blocks of keys, H, B; being in one window is symmetric, so a block of keys finds its queries as a block of
    queries finds its keys. `dk` and `dv` lie as the output does.
    """
    head, batch = tl.program_id(1), tl.program_id(2)
    start, length, own = _own_block(tl.program_id(0), size, window, shift, counts, WRAP, BOX, BLOCK_K, K_BOX)
    if own >= _blocks(length, BOX, BLOCK_K, K_BOX):
        return
    place, valid = _tokens(own, start, length, size, BOX, BLOCK_K, K_BOX)
    keys = _load(k, own, start, length, size, place, valid, k_strides, batch, head, D, BOX, BLOCK_K, K_BOX)
    values = _load(v, own, start, length, size, place, valid, v_strides, batch, head, D, BOX, BLOCK_K, K_BOX)

    key_total = tl.zeros([BLOCK_K, D], tl.float32)
    value_total = tl.zeros([BLOCK_K, D], tl.float32)
    for block in range(_blocks(length, BOX, BLOCK_Q, Q_BOX)):
        there, asks = _tokens(block, start, length, size, BOX, BLOCK_Q, Q_BOX)
        queries = _load(q, block, start, length, size, there, asks, q_strides, batch, head, D, BOX, BLOCK_Q, Q_BOX)
        grads = _load(grad, block, start, length, size, there, asks, grad_strides, batch, head, D, BOX, BLOCK_Q, Q_BOX)
        at = _statistics(there, size, batch, head)
        # a query that does not exist has an infinite sum, so all its weights are 0
        sums = tl.load(lse + at, mask=asks, other=float("inf")) * LOG2_E
        deltas = tl.load(delta + at, mask=asks, other=0.0)
        scores = tl.dot(keys, queries.T, input_precision=PRECISION)
        weights = tl.exp2(scores * scale - sums[None, :])
        value_total = tl.dot(weights.to(grads.dtype), grads, value_total, input_precision=PRECISION)
        slopes = weights * (tl.dot(values, grads.T, input_precision=PRECISION) - deltas[None, :])
        key_total = tl.dot(slopes.to(queries.dtype), queries, key_total, input_precision=PRECISION)

    target = _rows(dv, place, out_strides, batch, head, D)
    tl.store(target, value_total.to(dv.dtype.element_ty), mask=valid[:, None])
    target = _rows(dk, place, out_strides, batch, head, D)
    tl.store(target, (key_total * (scale * LN_2)).to(dk.dtype.element_ty), mask=valid[:, None])
