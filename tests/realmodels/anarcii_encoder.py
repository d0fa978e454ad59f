"""The encoder of anarcii's antibody model on nn.MultiheadAttention, written anew as a user of ``--factory`` would."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, HEADS, LAYERS, TOKENS, POSITIONS = 128, 4, 2, 25, 210


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc_1, self.fc_2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn_layer_norm, self.ff_layer_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.self_attention, self.positionwise_feedforward = SelfAttention(), FeedForward()

    def forward(self, hidden: Tensor, padding: Tensor | None) -> Tensor:
        attended, _ = self.self_attention.multihead_attn(hidden, hidden, hidden, key_padding_mask=padding)
        hidden = self.self_attn_layer_norm(hidden + attended)
        forward = self.positionwise_feedforward
        return self.ff_layer_norm(hidden + forward.fc_2(F.relu(forward.fc_1(hidden))))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tok_embedding, self.pos_embedding = nn.Embedding(TOKENS, WIDTH), nn.Embedding(POSITIONS, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        place = torch.arange(input_ids.shape[1], device=input_ids.device)
        hidden = self.tok_embedding(input_ids) * math.sqrt(WIDTH) + self.pos_embedding(place)
        padding = None if attention_mask is None else attention_mask == 0
        for layer in self.layers:
            hidden = layer(hidden, padding)
        return hidden


def build() -> Encoder:
    return Encoder()
