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

FOLDED, FOLDED_FROM = tl.constexpr(16), tl.constexpr(64)
"""Columns that rows of scores are folded to, and the keys of a block from which on; in smaller ones several warps share
a row."""
LIST_UNIT = tl.constexpr(16)
"""Lists of windows begin at multiples of so many numbers, so that several are loaded at a time."""
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
def _own_block(number, size, window, shift, counts, WRAP: tl.constexpr, BOX: tl.constexpr, SHAPE: tl.constexpr):
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
def _inverse(divisor):
    """What `_divided` multiplies by: 2^32 / divisor, rounded up; 0 for a divisor of 1."""
    return tl.full((), 0xFFFFFFFF, tl.uint32) // tl.cast(divisor, tl.uint32) + 1


@triton.jit
def _divided(number, divisor, inverse):
    """number // divisor by one multiplication, exact where number * divisor < 2^32 (see `LARGEST_PRODUCT`)."""
    return tl.where(divisor == 1, number, tl.umulhi(tl.cast(number, tl.uint32), inverse).to(tl.int32))


@triton.jit
def _walk(start, length, size, BOX: tl.constexpr, SHAPE: tl.constexpr):
    """A window as its blocks are walked over: where it starts, the volume, the boxes (BOX) or tokens along each axis,
    and what divides by rows and by columns of those."""
    if BOX:
        counts = (length[0] // SHAPE[0], length[1] // SHAPE[1], length[2] // SHAPE[2])
    else:
        counts = (length[0], length[1], length[2])
    return start, size, counts, (_inverse(counts[1]), _inverse(counts[2]))


@triton.jit
def _all_blocks(walk, BOX: tl.constexpr, BLOCK: tl.constexpr):
    """Blocks in a window."""
    _, _, counts, _ = walk
    number = counts[0] * counts[1] * counts[2]
    return number if BOX else tl.cdiv(number, BLOCK)


@triton.jit
def _looped_blocks(walk, BOX: tl.constexpr, PEEL: tl.constexpr, BLOCK: tl.constexpr):
    """Blocks in a window, but for the one that runs over its end where that is peeled off the loop (PEEL)."""
    _, _, counts, _ = walk
    return counts[0] * counts[1] * counts[2] // BLOCK if PEEL else _all_blocks(walk, BOX, BLOCK)


@triton.jit
def _visited(number, walk, WRAP: tl.constexpr, SHAPE: tl.constexpr):
    """The first token of box number `number` of a window; a box is one token where blocks are gathered."""
    start, size, counts, inverses = walk
    rows = _divided(number, counts[2], inverses[1])
    frames = _divided(rows, counts[1], inverses[0])
    f = start[0] + frames * SHAPE[0]
    y = start[1] + (rows - frames * counts[1]) * SHAPE[1]
    x = start[2] + (number - rows * counts[2]) * SHAPE[2]
    if WRAP[0]:
        f = tl.where(f < size[0], f, f - size[0])
    if WRAP[1]:
        y = tl.where(y < size[1], y, y - size[1])
    if WRAP[2]:
        x = tl.where(x < size[2], x, x - size[2])
    return f, y, x


@triton.jit
def _tokens(block, walk, WRAP: tl.constexpr, BOX: tl.constexpr, BLOCK: tl.constexpr, SHAPE: tl.constexpr):
    """(frames, rows, columns) of the tokens of a block, and which of them exist."""
    index = tl.arange(0, BLOCK)
    if BOX:
        first = _visited(block, walk, WRAP, SHAPE)
        f, y, x = _split(index, SHAPE)
        place = (first[0] + f, first[1] + y, first[2] + x)
        valid = index < BLOCK
    else:
        _, _, counts, _ = walk
        index += block * BLOCK
        place = _visited(index, walk, WRAP, SHAPE)
        valid = index < counts[0] * counts[1] * counts[2]
    return place, valid


@triton.jit
def _rows(source, place, strides, batch, head, D: tl.constexpr, NEAR: tl.constexpr):
    """Pointers to the D numbers of each token; addresses within a head of a batch row are 32 bits wide (NEAR) or 64."""
    kind: tl.constexpr = tl.int32 if NEAR else tl.int64
    base = source + batch.to(tl.int64) * strides[0] + head.to(tl.int64) * strides[4]
    rows = place[0].to(kind) * strides[1] + place[1].to(kind) * strides[2] + place[2].to(kind) * strides[3]
    return base + (rows[:, None] + tl.arange(0, D)[None, :].to(kind) * strides[5])


@triton.jit
def _load(
    source, block, walk, place, valid, strides, batch, head,
    WRAP: tl.constexpr, D: tl.constexpr, NEAR: tl.constexpr, BOX: tl.constexpr, BLOCK: tl.constexpr,
    SHAPE: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """The [BLOCK, D] values of a block; rows that do not exist are 0, and all of them do in a WHOLE one."""
    if BOX:
        f, y, x = _visited(block, walk, WRAP, SHAPE)
        _, size, _, _ = walk
        values = source.load([batch * size[0] + f, y, x, head, 0]).reshape(BLOCK, D)
    elif WHOLE:
        values = tl.load(_rows(source, place, strides, batch, head, D, NEAR))
    else:
        values = tl.load(_rows(source, place, strides, batch, head, D, NEAR), mask=valid[:, None], other=0.0)
    return values


@triton.jit
def _load_both(
    first, second, block, walk, place, valid, first_strides, second_strides, batch, head,
    WRAP: tl.constexpr, D: tl.constexpr, NEAR: tl.constexpr, BOX: tl.constexpr, BLOCK: tl.constexpr,
    SHAPE: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """The same block of two tensors, of which `first` is used first.

    Boxes are asked for side by side, before either is used, so that TMA answers for both by one barrier, and the one
    that is used first is asked for last. Otherwise Triton has all warps meet between the products of a turn, and none
    multiplies while another takes its softmax.
    """
    if BOX:
        f, y, x = _visited(block, walk, WRAP, SHAPE)
        _, size, _, _ = walk
        corner = [batch * size[0] + f, y, x, head, 0]
        other = second.load(corner)
        one = first.load(corner)
        one, other = one.reshape(BLOCK, D), other.reshape(BLOCK, D)
    else:
        one = _load(
            first, block, walk, place, valid, first_strides, batch, head, WRAP, D, NEAR, BOX, BLOCK, SHAPE, WHOLE
        )
        other = _load(
            second, block, walk, place, valid, second_strides, batch, head, WRAP, D, NEAR, BOX, BLOCK, SHAPE, WHOLE
        )
    return one, other


@triton.jit
def _statistics(place, size, batch, head):
    """Where the statistics of tokens lie in a contiguous [B, H, F, Y, X]."""
    volume = size[0] * size[1] * size[2]
    base = (batch * tl.num_programs(1) + head).to(tl.int64) * volume
    return base + (place[0] * size[1] + place[1]) * size[2] + place[2]


@triton.jit
def _window_number(start, window, shift, counts, WRAP: tl.constexpr):
    """The raster number of the window that starts at `start`; `counts` are the windows along each axis."""
    # the first window of an axis is the one that the axis starts with, or, where windows wrap, that at the shift
    f = (start[0] - shift[0] + window[0]) // window[0] - (1 if WRAP[0] else tl.where(shift[0] == 0, 1, 0))
    y = (start[1] - shift[1] + window[1]) // window[1] - (1 if WRAP[1] else tl.where(shift[1] == 0, 1, 0))
    x = (start[2] - shift[2] + window[2]) // window[2] - (1 if WRAP[2] else tl.where(shift[2] == 0, 1, 0))
    return (f * counts[1] + y) * counts[2] + x


@triton.jit
def _list_of(start, window, shift, window_counts, batch, head, WRAP: tl.constexpr):
    """Where the list of a window begins in a contiguous [B, H, windows, room], with room for the tokens of the largest
    window."""
    windows = window_counts[0] * window_counts[1] * window_counts[2]
    number = _window_number(start, window, shift, window_counts, WRAP)
    lists = (batch * tl.num_programs(1) + head).to(tl.int64) * windows + number
    return lists * (tl.cdiv(window[0] * window[1] * window[2], LIST_UNIT) * LIST_UNIT)


@triton.jit
def _listed(place, start, length, size, SHAPE: tl.constexpr):
    """Where tokens are in the list of their window, in which the boxes of SHAPE lie one after the other."""
    f, y, x = place[0] - start[0], place[1] - start[1], place[2] - start[2]
    # a wrapped window goes on at the beginning of its axis
    f = tl.where(f < 0, f + size[0], f)
    y = tl.where(y < 0, y + size[1], y)
    x = tl.where(x < 0, x + size[2], x)
    box = f // SHAPE[0] * (length[1] // SHAPE[1]) + y // SHAPE[1]
    box = box * (length[2] // SHAPE[2]) + x // SHAPE[2]
    inside = (f % SHAPE[0] * SHAPE[1] + y % SHAPE[1]) * SHAPE[2] + x % SHAPE[2]
    return box * (SHAPE[0] * SHAPE[1] * SHAPE[2]) + inside


@triton.jit
def _weighed(
    queries, highest, total, mean, k, v, block, walk, k_strides, v_strides, batch, head, scale,
    WRAP: tl.constexpr, D: tl.constexpr, NEAR: tl.constexpr, BOX: tl.constexpr, BLOCK: tl.constexpr,
    SHAPE: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Maximum, sums of weights and weighted sum of the forward, with one more block of keys and values in them.

    Of a row of scores a thread has many, and would take them one by one, each after the one before. So rows of large
    blocks are folded first, to as many columns as `total` has sums of weights for each row: what falls on one column is
    in one thread, and columns need not wait for each other.
    """
    there, seen = _tokens(block, walk, WRAP, BOX, BLOCK, SHAPE)
    keys, values = _load_both(
        k, v, block, walk, there, seen, k_strides, v_strides, batch, head, WRAP, D, NEAR, BOX, BLOCK, SHAPE, WHOLE
    )
    scores = tl.dot(queries, keys.T, input_precision=PRECISION)
    if not WHOLE:
        scores = tl.where(seen[None, :], scores, float("-inf"))
    if BLOCK >= FOLDED_FROM:
        folded: tl.constexpr = [scores.shape[0], BLOCK // FOLDED, FOLDED]
        top = tl.max(tl.max(scores.reshape(folded), 1), 1)
    else:
        top = tl.max(scores, 1)
    higher = tl.maximum(highest, top * scale)
    weights = tl.exp2(scores * scale - higher[:, None])
    fade = tl.exp2(highest - higher)
    if BLOCK >= FOLDED_FROM:
        total = total * fade[:, None] + tl.sum(weights.reshape(folded), 1)
    else:
        total = total * fade + tl.sum(weights, 1)
    mean = tl.dot(weights.to(values.dtype), values, mean * fade[:, None], input_precision=PRECISION)
    return higher, total, mean


@triton.jit
def forward_kernel(
    q, k, v, out, lse,
    q_strides, k_strides, v_strides, out_strides, size, window, shift, counts, scale,
    WRAP: tl.constexpr, D: tl.constexpr, NEAR: tl.constexpr, BOX: tl.constexpr, OWN_BOX: tl.constexpr,
    PEEL: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, Q_BOX: tl.constexpr, K_BOX: tl.constexpr,
):  # fmt: skip
    """out = softmax(q k' / sqrt(D)) v inside each window, and lse = log(sum(exp(q k' / sqrt(D)))).

    Grid: blocks of queries, H, B. `k`, `v` are descriptors (BOX) or pointers, and so is `q` (OWN_BOX).
    """
    head, batch = tl.program_id(1), tl.program_id(2)
    start, length, own = _own_block(tl.program_id(0), size, window, shift, counts, WRAP, BOX, Q_BOX)
    own_walk = _walk(start, length, size, BOX, Q_BOX)
    if own >= _all_blocks(own_walk, BOX, BLOCK_Q):
        return
    place, valid = _tokens(own, own_walk, WRAP, BOX, BLOCK_Q, Q_BOX)
    queries = _load(q, own, own_walk, place, valid, q_strides, batch, head, WRAP, D, NEAR, OWN_BOX, BLOCK_Q, Q_BOX, BOX)

    highest = tl.full([BLOCK_Q], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_Q, FOLDED] if BLOCK_K >= FOLDED_FROM else [BLOCK_Q], tl.float32)
    mean = tl.zeros([BLOCK_Q, D], tl.float32)
    walk = _walk(start, length, size, BOX, K_BOX)
    looped = _looped_blocks(walk, BOX, PEEL, BLOCK_K)
    for block in range(looped):
        highest, total, mean = _weighed(
            queries, highest, total, mean, k, v, block, walk, k_strides, v_strides, batch, head, scale,
            WRAP, D, NEAR, BOX, BLOCK_K, K_BOX, BOX or PEEL,
        )  # fmt: skip
    if PEEL and looped < _all_blocks(walk, BOX, BLOCK_K):
        highest, total, mean = _weighed(
            queries, highest, total, mean, k, v, looped, walk, k_strides, v_strides, batch, head, scale,
            WRAP, D, NEAR, BOX, BLOCK_K, K_BOX, False,
        )  # fmt: skip

    if BLOCK_K >= FOLDED_FROM:
        total = tl.sum(total, 1)
    mean = mean / total[:, None]
    target = _rows(out, place, out_strides, batch, head, D, NEAR)
    tl.store(target, mean.to(out.dtype.element_ty), mask=valid[:, None])
    tl.store(lse + _statistics(place, size, batch, head), (highest + tl.log2(total)) * LN_2, mask=valid)


@triton.jit
def _sloped(
    queries, grads, sums, deltas, total, k, v, block, walk, k_strides, v_strides, batch, head, scale,
    WRAP: tl.constexpr, D: tl.constexpr, NEAR: tl.constexpr, BOX: tl.constexpr, BLOCK: tl.constexpr,
    SHAPE: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """The gradient of queries with what comes of one more block of keys and values in it, times sqrt(D)."""
    there, seen = _tokens(block, walk, WRAP, BOX, BLOCK, SHAPE)
    keys, values = _load_both(
        k, v, block, walk, there, seen, k_strides, v_strides, batch, head, WRAP, D, NEAR, BOX, BLOCK, SHAPE, WHOLE
    )
    scores = tl.dot(queries, keys.T, input_precision=PRECISION)
    weights = tl.exp2(scores * scale - sums[:, None])
    if not WHOLE:
        weights = tl.where(seen[None, :], weights, 0.0)
    slopes = weights * (tl.dot(grads, values.T, input_precision=PRECISION) - deltas[:, None])
    return tl.dot(slopes.to(keys.dtype), keys, total, input_precision=PRECISION)


@triton.jit
def dq_kernel(
    q, k, v, out, grad, lse, lse_grad, dq, sums_listed, deltas_listed,
    q_strides, k_strides, v_strides, out_strides, grad_strides, size, window, shift, counts, window_counts, scale,
    WRAP: tl.constexpr, D: tl.constexpr, NEAR: tl.constexpr, BOX: tl.constexpr, OWN_BOX: tl.constexpr,
    PEEL: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, Q_BOX: tl.constexpr, K_BOX: tl.constexpr,
    LISTED_BOX: tl.constexpr,
):  # fmt: skip
    """Gradient of the queries, and what the kernel of keys and values needs of each query: lse in base 2, and
    delta = sum(out * grad) - lse_grad, both in lists of windows whose boxes of LISTED_BOX lie one after the other.

    With weights p = exp(s - lse): ds = p (grad v' - delta), dq = ds k / sqrt(D).
    Grid: blocks of queries, H, B. `k`, `v` are descriptors (BOX) or pointers, and so are `q`, `grad` (OWN_BOX); `dq`
    lies as `out` does; `lse_grad` is None where nothing was made of the log-sum-exp.
    """
    head, batch = tl.program_id(1), tl.program_id(2)
    start, length, own = _own_block(tl.program_id(0), size, window, shift, counts, WRAP, BOX, Q_BOX)
    own_walk = _walk(start, length, size, BOX, Q_BOX)
    if own >= _all_blocks(own_walk, BOX, BLOCK_Q):
        return
    place, valid = _tokens(own, own_walk, WRAP, BOX, BLOCK_Q, Q_BOX)
    queries = _load(q, own, own_walk, place, valid, q_strides, batch, head, WRAP, D, NEAR, OWN_BOX, BLOCK_Q, Q_BOX, BOX)
    grads = _load(
        grad, own, own_walk, place, valid, grad_strides, batch, head, WRAP, D, NEAR, OWN_BOX, BLOCK_Q, Q_BOX, BOX
    )
    outs = tl.load(_rows(out, place, out_strides, batch, head, D, NEAR), mask=valid[:, None], other=0.0)
    at = _statistics(place, size, batch, head)
    sums = tl.load(lse + at, mask=valid, other=0.0) * LOG2_E
    deltas = tl.sum(outs.to(tl.float32) * grads.to(tl.float32), 1)
    if lse_grad is not None:
        deltas -= tl.load(lse_grad + at, mask=valid, other=0.0)
    listed = _list_of(start, window, shift, window_counts, batch, head, WRAP)
    listed += _listed(place, start, length, size, LISTED_BOX)
    tl.store(sums_listed + listed, sums, mask=valid)
    tl.store(deltas_listed + listed, deltas, mask=valid)

    total = tl.zeros([BLOCK_Q, D], tl.float32)
    walk = _walk(start, length, size, BOX, K_BOX)
    looped = _looped_blocks(walk, BOX, PEEL, BLOCK_K)
    for block in range(looped):
        total = _sloped(
            queries, grads, sums, deltas, total, k, v, block, walk, k_strides, v_strides, batch, head, scale,
            WRAP, D, NEAR, BOX, BLOCK_K, K_BOX, BOX or PEEL,
        )  # fmt: skip
    if PEEL and looped < _all_blocks(walk, BOX, BLOCK_K):
        total = _sloped(
            queries, grads, sums, deltas, total, k, v, looped, walk, k_strides, v_strides, batch, head, scale,
            WRAP, D, NEAR, BOX, BLOCK_K, K_BOX, False,
        )  # fmt: skip

    target = _rows(dq, place, out_strides, batch, head, D, NEAR)
    tl.store(target, (total * (scale * LN_2)).to(dq.dtype.element_ty), mask=valid[:, None])


@triton.jit
def _asked(
    keys, values, key_total, value_total, q, grad, sums_listed, deltas_listed, block, walk, q_strides, grad_strides,
    batch, head, scale,
    WRAP: tl.constexpr, D: tl.constexpr, NEAR: tl.constexpr, BOX: tl.constexpr, BLOCK: tl.constexpr,
    SHAPE: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Gradients of keys, times sqrt(D), and of values with what comes of one more block of queries in them."""
    there, asks = _tokens(block, walk, WRAP, BOX, BLOCK, SHAPE)
    queries, grads = _load_both(
        q, grad, block, walk, there, asks, q_strides, grad_strides, batch, head, WRAP, D, NEAR, BOX, BLOCK, SHAPE, WHOLE
    )
    at = block * BLOCK + tl.arange(0, BLOCK)
    if WHOLE:
        sums = tl.load(sums_listed + at)
        deltas = tl.load(deltas_listed + at)
    else:
        # a query that does not exist has an infinite sum, so all its weights are 0
        sums = tl.load(sums_listed + at, mask=asks, other=float("inf"))
        deltas = tl.load(deltas_listed + at, mask=asks, other=0.0)
    scores = tl.dot(keys, queries.T, input_precision=PRECISION)
    weights = tl.exp2(scores * scale - sums[None, :])
    value_total = tl.dot(weights.to(grads.dtype), grads, value_total, input_precision=PRECISION)
    slopes = weights * (tl.dot(values, grads.T, input_precision=PRECISION) - deltas[None, :])
    key_total = tl.dot(slopes.to(queries.dtype), queries, key_total, input_precision=PRECISION)
    return key_total, value_total


@triton.jit
def dkdv_kernel(
    q, k, v, grad, sums_listed, deltas_listed, dk, dv,
    q_strides, k_strides, v_strides, out_strides, grad_strides, size, window, shift, counts, window_counts, scale,
    WRAP: tl.constexpr, D: tl.constexpr, NEAR: tl.constexpr, BOX: tl.constexpr, OWN_BOX: tl.constexpr,
    PEEL: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, Q_BOX: tl.constexpr, K_BOX: tl.constexpr,
):  # fmt: skip
    """Gradients of keys and values: dv = p' grad, dk = ds' q / sqrt(D), with p and ds as in `dq_kernel`.

    Grid: blocks of keys, H, B; being in one window is symmetric, so a block of keys finds its queries as a block of
    queries finds its keys. `q`, `grad` are descriptors (BOX) or pointers, and so are `k`, `v` (OWN_BOX).
    `sums_listed` and `deltas_listed` are of `dq_kernel`, in lists whose boxes are Q_BOX. `dk`
    and `dv` lie as the output does.
    """
    head, batch = tl.program_id(1), tl.program_id(2)
    start, length, own = _own_block(tl.program_id(0), size, window, shift, counts, WRAP, BOX, K_BOX)
    own_walk = _walk(start, length, size, BOX, K_BOX)
    if own >= _all_blocks(own_walk, BOX, BLOCK_K):
        return
    place, valid = _tokens(own, own_walk, WRAP, BOX, BLOCK_K, K_BOX)
    keys = _load(k, own, own_walk, place, valid, k_strides, batch, head, WRAP, D, NEAR, OWN_BOX, BLOCK_K, K_BOX, BOX)
    values = _load(v, own, own_walk, place, valid, v_strides, batch, head, WRAP, D, NEAR, OWN_BOX, BLOCK_K, K_BOX, BOX)

    key_total = tl.zeros([BLOCK_K, D], tl.float32)
    value_total = tl.zeros([BLOCK_K, D], tl.float32)
    listed = _list_of(start, window, shift, window_counts, batch, head, WRAP)
    sums, deltas = sums_listed + listed, deltas_listed + listed
    walk = _walk(start, length, size, BOX, Q_BOX)
    looped = _looped_blocks(walk, BOX, PEEL, BLOCK_Q)
    for block in range(looped):
        key_total, value_total = _asked(
            keys, values, key_total, value_total, q, grad, sums, deltas, block, walk, q_strides, grad_strides,
            batch, head, scale, WRAP, D, NEAR, BOX, BLOCK_Q, Q_BOX, BOX or PEEL,
        )  # fmt: skip
    if PEEL and looped < _all_blocks(walk, BOX, BLOCK_Q):
        key_total, value_total = _asked(
            keys, values, key_total, value_total, q, grad, sums, deltas, looped, walk, q_strides, grad_strides,
            batch, head, scale, WRAP, D, NEAR, BOX, BLOCK_Q, Q_BOX, False,
        )  # fmt: skip

    target = _rows(dv, place, out_strides, batch, head, D, NEAR)
    tl.store(target, value_total.to(dv.dtype.element_ty), mask=valid[:, None])
    target = _rows(dk, place, out_strides, batch, head, D, NEAR)
    tl.store(target, (key_total * (scale * LN_2)).to(dk.dtype.element_ty), mask=valid[:, None])
