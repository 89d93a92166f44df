"""The text refiner: layers between a frozen text encoder and the network that reads its token states.

An encoder knows how words are used; what they look like in one world it was never told. The refiner moves the states of
words that a world was not trained on to where those of its own words are. Tencent 2024, "HunyuanVideo", sec. 3.2 has
such layers ("token refiner") for the same reason. It starts as the identity, so a trained world can be given one.

Shapes: T texts, L text tokens, K text channels.
"""

from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

HEAD_DIM = 64
"""Channels of a head, or all channels where there are fewer."""


class TextRefiner(nn.Module):
    """Residual layers of attention between the tokens of each text, and of a feed-forward network."""

    def __init__(self, dim: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(RefinerLayer(dim) for _ in range(depth))

    def forward(self, states: Float[Tensor, "T L K"], mask: Bool[Tensor, "T L"]) -> Float[Tensor, "T L K"]:
        """Refined states; each text by itself, its padding never read."""
        for layer in self.layers:
            states = layer(states, mask)
        return states


class RefinerLayer(nn.Module):
    """Pre-norm attention and feed-forward, both of which add nothing at first."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.heads = max(1, dim // HEAD_DIM)
        self.attention_norm, self.mlp_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attention_out = nn.Linear(dim, dim)
        self.mlp_in, self.mlp_out = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        for last in (self.attention_out, self.mlp_out):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, states: Float[Tensor, "T L K"], mask: Bool[Tensor, "T L"]) -> Float[Tensor, "T L K"]:
        q, k, v = rearrange(self.qkv(self.attention_norm(states)), "t l (n h d) -> n t h l d", n=3, h=self.heads)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        states = states + self.attention_out(rearrange(attended, "t h l d -> t l (h d)"))
        refined: Tensor = states + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(states))))
        return refined
