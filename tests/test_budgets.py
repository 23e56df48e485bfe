"""The stated sizes and budgets are those of the cards."""

from pathlib import Path

from tools.budgets import budgets

PAGE = Path(__file__).parents[1] / "baselines" / "weights" / "README.md"


def test_page_shows_the_sizes_and_budgets_of_the_cards():
    assert f"<!-- measured -->\n{budgets()}<!-- /measured -->" in PAGE.read_text()
