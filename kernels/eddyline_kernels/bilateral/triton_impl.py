"""The bilateral filter in Triton. Needs Triton to be imported.

Each frame is read from memory once; the 24 neighbours of a pixel come from the cache. Values in bf16 are only loaded
and cast, as Triton's interpreter needs it.
"""

import triton
import triton.language as tl


@triton.jit
def bilateral_filter_kernel(frames, out, inverse, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """out = the mean of the 5x5 around each pixel, weighed by max(0, 1 - d^2 inverse)^2, d how far colours are apart.

    Grid: blocks of BLOCK pixels of each frame, frame by frame. Frames are contiguous [3, HEIGHT, WIDTH] with less than
    2^31 numbers; their size is fixed, as a world's pictures all have one, so that a neighbour lies at a known distance.
    Neighbours are added up in the reference's order.
    """
    area: tl.constexpr = HEIGHT * WIDTH
    blocks: tl.constexpr = (area + BLOCK - 1) // BLOCK
    frame, block = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    at = block * BLOCK + tl.arange(0, BLOCK)
    inside = at < area
    y, x = at // WIDTH, at % WIDTH
    red_plane = frames + frame.to(tl.int64) * 3 * area
    green_plane, blue_plane = red_plane + area, red_plane + 2 * area
    red = tl.load(red_plane + at, mask=inside, other=0.0).to(tl.float32)
    green = tl.load(green_plane + at, mask=inside, other=0.0).to(tl.float32)
    blue = tl.load(blue_plane + at, mask=inside, other=0.0).to(tl.float32)
    weight = tl.full([BLOCK], 1.0, tl.float32)
    pull_red, pull_green, pull_blue = weight - 1.0, weight - 1.0, weight - 1.0
    for pair in tl.static_range(3, 15):  # of a grid of 5x5 those that come after its middle, number 12
        for way in tl.static_range(2):
            down = (pair // 5) * (1 - 2 * way)
            right = (pair % 5 - 2) * (1 - 2 * way)
            there = inside & (y + down >= 0) & (y + down < HEIGHT) & (x + right >= 0) & (x + right < WIDTH)
            of = at + down * WIDTH + right
            red_apart = tl.load(red_plane + of, mask=there, other=0.0).to(tl.float32) - red
            green_apart = tl.load(green_plane + of, mask=there, other=0.0).to(tl.float32) - green
            blue_apart = tl.load(blue_plane + of, mask=there, other=0.0).to(tl.float32) - blue
            square = red_apart * red_apart + green_apart * green_apart + blue_apart * blue_apart
            near = tl.maximum(1.0 - square * inverse, 0.0)
            near = tl.where(there, near * near, 0.0)
            weight += near
            pull_red += near * red_apart
            pull_green += near * green_apart
            pull_blue += near * blue_apart
    out_plane = out + frame.to(tl.int64) * 3 * area
    tl.store(out_plane + at, red + pull_red / weight, mask=inside)
    tl.store(out_plane + area + at, green + pull_green / weight, mask=inside)
    tl.store(out_plane + 2 * area + at, blue + pull_blue / weight, mask=inside)
