"""The stated sizes and budgets are those of the cards."""

from checkout import ROOT

from tools.budgets import budgets

PAGE = ROOT / "baselines" / "weights" / "README.md"


def test_page_shows_the_sizes_and_budgets_of_the_cards():
    assert f"<!-- measured -->\n{budgets()}<!-- /measured -->" in PAGE.read_text()
