"""The cost model counts what a pair needs, and solves for what each part costs."""

import dataclasses
import json

import pytest

from experiments.benchmark import cost_model
from experiments.benchmark.broden_size import ProblemSize
from experiments.benchmark.cost_model import (
    H100,
    PARTS,
    CostFlags,
    count_work,
    fit_costs,
    predict,
    predict_accelerator,
)
from net2vec_jax.core.errors import Net2VecError

CONV5 = ProblemSize()


def test_work_of_a_pair_is_counted() -> None:
    work = count_work(CONV5, 300)
    # Rows less than one grid row away, which are 112 / 12 apart: 18.7 on average, here at most 19.
    near = 19
    assert work == {
        "pair": 1,
        "entries": 600,
        "rows": 13 * 113 * (2 * 13 + near),
        "pixels": 113 * 113,
    }


def test_costs_are_recovered() -> None:
    costs = {"pair": 1e-6, "entries": 3e-9, "rows": 2e-11, "pixels": 5e-10}
    problems = [
        (CONV5, 200),
        (CONV5, 900),
        (dataclasses.replace(CONV5, grid=(7, 7)), 200),
        (dataclasses.replace(CONV5, segmentation_size=(56, 56)), 200),
    ]
    work = [count_work(*problem) for problem in problems]
    found = fit_costs(work, [predict(each, costs) for each in work])
    for part in PARTS:
        assert found[part] == pytest.approx(costs[part], rel=1e-6)
    with pytest.raises(Net2VecError, match="4 problems are needed at least, not 3"):
        fit_costs(work[:3], [1.0, 2.0, 3.0])


def test_an_accelerator_is_bound_by_its_memory() -> None:
    paper = predict_accelerator(CONV5, H100)
    assert paper["memory"] > paper["arithmetic"] > 0
    assert paper["total"] == paper["memory"] + paper["start"]
    # 0.7 MB of unpacked bits and 0.3 MB of pixels at 2 TB/s.
    assert paper["memory"] == pytest.approx(0.5e-6, rel=0.1)
    slower = dataclasses.replace(H100, operations=1e11)
    assert predict_accelerator(CONV5, slower)["total"] > paper["total"]


def test_the_script_predicts_and_measures(tmp_path, monkeypatch) -> None:
    costs = {"pair": 1e-6, "entries": 3e-9, "rows": 2e-11, "pixels": 5e-10}

    def measure(size: ProblemSize, _: CostFlags) -> tuple[dict[str, float], float]:
        work = count_work(size, size.density * size.grid[0] * size.grid[1] * size.filters)
        return work, predict(work, costs)

    monkeypatch.setattr(cost_model, "measure", measure)
    cost_model.main(CostFlags(tmp_path / "out"))
    written = json.loads((tmp_path / "out" / "cost_model.json").read_text())
    assert sum(not row["fitted"] for row in written["problems"]) >= 5
    for row in written["problems"]:
        assert sum(row["shares"].values()) == pytest.approx(100)
        assert row["predicted"] == pytest.approx(row["measured"], rel=1e-4)
    assert (tmp_path / "out" / "cost_model.png").stat().st_size > 5000


def test_a_measurement_is_of_one_pair() -> None:
    size = ProblemSize(images=100, filters=8, concept_share=0.01, density=0.05)
    work, seconds = cost_model.measure(size, CostFlags(None, epochs=1))
    assert work["entries"] >= 2 * 32  # whole blocks, twice
    assert work["entries"] >= 2 * 0.05 * 169 * 8 * 0.8
    assert 0 < seconds < 1e-1
