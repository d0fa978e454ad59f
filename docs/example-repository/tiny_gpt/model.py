"""Two layers of causal attention over bytes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

VOCABULARY = 256
LONGEST = 64


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Mix each position with those before it, ``(batch, position, width)``."""
        batch, length, width = x.shape
        query, key, value = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class TinyGPT(nn.Module):
    """Embedding, attention, logits."""

    def __init__(self, width: int = 64, heads: int = 2, layers: int = 2) -> None:
        super().__init__()
        self.token = nn.Embedding(VOCABULARY, width)
        self.position = nn.Embedding(LONGEST, width)
        self.attention = nn.ModuleList(Attention(width, heads) for _ in range(layers))
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Logits of the next byte, ``(batch, position, VOCABULARY)``."""
        place = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.token(input_ids) + self.position(place)
        for layer in self.attention:
            x = x + layer(F.layer_norm(x, x.shape[-1:]))
        return self.head(F.layer_norm(x, x.shape[-1:]))


def build() -> TinyGPT:
    """The model without trained weights."""
    return TinyGPT()
