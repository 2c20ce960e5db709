"""The training loop that most people write first, and PyTorch's own encoder in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from tsdiag.data.windows import Windows


class WindowDataset(Dataset[tuple[Tensor, Tensor]]):
    """One window and its target by number."""

    def __init__(self, windows: Windows) -> None:
        self.rows = windows.inputs
        self.targets = windows.targets
        self.context_length = windows.context_length

    def __len__(self) -> int:
        return len(self.rows) - self.context_length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        end = index + self.context_length
        return self.rows[index:end], self.targets[end - 1].flatten()


class Encoder(nn.Module):
    """Projected patches, learned positions, nn.TransformerEncoder as it comes, a flat readout."""

    def __init__(self, windows: Windows, patch: int, width: int, *, dropout: float) -> None:
        super().__init__()
        tokens = windows.context_length // patch
        self.patch = patch
        self.project = nn.Linear(patch * windows.n_channels, width)
        self.positions = nn.Parameter(torch.zeros(tokens, width))
        layer = nn.TransformerEncoderLayer(
            width, nhead=4, dim_feedforward=2 * width, dropout=dropout, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, num_layers=2)
        self.readout = nn.Linear(tokens * width, windows.prediction_length)

    def forward(self, window: Tensor) -> Tensor:
        """Return predictions "batch horizon"."""
        tokens = self.project(window.unflatten(1, (-1, self.patch)).flatten(2))
        return self.readout(self.encoder(tokens + self.positions).flatten(1))


def naive_loop(model: nn.Module, windows: Windows, batch_size: int) -> Callable[[int], None]:
    """Return what trains for so many steps, over epochs of a shuffled DataLoader."""
    loader = DataLoader(WindowDataset(windows), batch_size=batch_size, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = endless(loader)
    losses = []

    def train(steps: int) -> None:
        model.train()
        for _ in range(steps):
            inputs, targets = next(batches)
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(inputs), targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())

    return train


def endless(loader: DataLoader[tuple[Tensor, Tensor]]) -> Iterator[list[Tensor]]:
    """Yield the batches of epoch after epoch."""
    while True:
        yield from loader
