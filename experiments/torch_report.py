"""`dm.empirical.report` on real torch networks, beside torch's own decomposition.

A convolutional network with a low-rank adapter (a factor that starts at zero) learns
scikit-learn's digits. Its state_dict is reported as it is, in float32, cast to bfloat16,
and as a module whose Parameters require gradients. What torch finds in the same
matrices, in double precision, stands beside. A minute; torch is not among the book's
packages, so the small table is kept in book/_data/torch_report.csv.

    pip install torch && python -m experiments.torch_report
"""

import copy

import pandas as pd
from sklearn.datasets import load_digits

from dmftlib import empirical
from experiments import protocol

STEPS, BATCH, RANK = 300, 128, 12


def network(torch):
    """Digits of 8 x 8 pixels: two convolutions, a dense layer with an adapter, and a
    readout.
    """

    class Adapted(torch.nn.Module):
        def __init__(self, size):
            super().__init__()
            self.dense = torch.nn.Linear(size, size)
            self.lora_a = torch.nn.Parameter(torch.randn(RANK, size) / size**0.5)
            self.lora_b = torch.nn.Parameter(torch.zeros(size, RANK))

        def forward(self, x):
            return self.dense(x) + x @ self.lora_a.T @ self.lora_b.T

    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 32, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(32, 48, 3, stride=2, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(768, 128),
        torch.nn.ReLU(),
        Adapted(128),
        torch.nn.ReLU(),
        torch.nn.Linear(128, 10),
    )


def trained(torch):
    """(before, after): the module at its start and at its end."""
    torch.manual_seed(0)
    module = network(torch)
    before = copy.deepcopy(module)
    images, classes = load_digits(return_X_y=True)
    images = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    classes = torch.tensor(classes)
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3)
    for _ in range(STEPS):
        drawn = torch.randint(len(images), (BATCH,))
        loss = torch.nn.functional.cross_entropy(module(images[drawn]), classes[drawn])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return before, module


def by_torch(torch, start, end) -> dict:
    """What torch finds in one matrix, in double precision."""
    start, end = (x.detach().double().reshape(len(x), -1) for x in (start, end))
    squares = torch.linalg.svdvals(end - start) ** 2
    length = torch.linalg.norm(end - start)
    return {
        "moved_by_torch": float(length / torch.linalg.norm(start)),
        "participation_ratio_by_torch": float(squares.sum() ** 2 / (squares**2).sum()),
        "stable_rank_by_torch": float(squares.sum() / squares.max()),
    }


def rows(torch) -> pd.DataFrame:
    """The reports of all three forms, a row a matrix, with torch's numbers."""
    before, after = trained(torch)
    starts, ends = before.state_dict(), after.state_dict()
    forms = {
        "float32": (starts, ends),
        "bfloat16": tuple(
            {name: value.bfloat16() for name, value in state.items()}
            for state in (starts, ends)
        ),
        "module": (before, after),
    }
    tables = []
    for form, (start, end) in forms.items():
        table = empirical.report(start, end)
        names = [label[2:-2] for label in table.index]
        states = (starts, ends) if form == "module" else (start, end)
        found = [by_torch(torch, *(state[name] for state in states)) for name in names]
        beside = pd.DataFrame(found, index=table.index)
        named = table.join(beside).assign(form=form, matrix=names)
        tables.append(named.sort_values("matrix"))
    return pd.concat(tables, ignore_index=True)


if __name__ == "__main__":
    import torch

    protocol.save(
        "torch_report",
        rows(torch),
        8,
        script="experiments/torch_report.py",
        torch=torch.__version__,
    )
