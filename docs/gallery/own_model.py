# %% [markdown]
# # Your own PyTorch model
#
# Anything that maps token ids to logits and calls `scaled_dot_product_attention`, `nn.MultiheadAttention` or a softmax of
# its logits. This one is thirty lines; it is not trained, and heedful says so.

# %%
import torch
from torch import nn
from torch.nn import functional as F

import heedful


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        query, key, value = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class Model(nn.Module):
    def __init__(self, vocabulary: int = 100, width: int = 64, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.attention = nn.ModuleList(Attention(width, heads) for _ in range(layers))
        self.head = nn.Linear(width, vocabulary)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(input_ids)
        for layer in self.attention:
            x = x + layer(F.layer_norm(x, x.shape[-1:]))
        return self.head(x)


torch.manual_seed(0)
model = Model()
ids = torch.randint(0, 100, (32, 64), generator=torch.Generator().manual_seed(0))

# %% [markdown]
# First: does heedful see what it should? `verify` recomputes each module's output from what was captured, and moves the
# model's by replacing it.

# %%
for proof in heedful.verify(model, lambda: model(ids[:2])):
    print(f"{proof.path}: met by {proof.way}, recomputed {proof.recomputed}, replaced {proof.replaced}")

# %% [markdown]
# Then the claims. What holds for any model holds; what training gives is not there.

# %%
import heedful.testing as testing

for check in (testing.assert_causal, testing.assert_rows_sum_to_one, testing.assert_gradients_reach_attention):
    print(check(model, ids).reason)
for check in (testing.assert_not_collapsed, testing.assert_attention_used):
    try:
        print(check(model, ids).reason)
    except AssertionError as error:
        print("AssertionError:", error)

# %% [markdown]
# On the command line: `heedful validate --factory my_package.model:build --checkpoint weights.safetensors`.
