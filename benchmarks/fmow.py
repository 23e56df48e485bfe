"""FMoW-WILDS: what a satellite image shows, shifted to later years, region by region."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from gcbench.bench import Benchmark, BenchmarkFamily, LabelSpace, Metric
from gcbench.sources import Source
from gcbench.sources.files import joined
from gcbench.sources.tables import Row, read_rows

from ._wilds import SUITE, Record, WildsSet, benchmark

FMOW_62 = LabelSpace(
    "fmow-62",
    (
        *("airport", "airport_hangar", "airport_terminal", "amusement_park", "aquaculture"),
        *("archaeological_site", "barn", "border_checkpoint", "burial_site", "car_dealership"),
        *("construction_site", "crop_field", "dam", "debris_or_rubble", "educational_institution"),
        *("electric_substation", "factory_or_powerplant", "fire_station", "flooded_road"),
        *("fountain", "gas_station", "golf_course", "ground_transportation_station", "helipad"),
        *("hospital", "impoverished_settlement", "interchange", "lake_or_pond", "lighthouse"),
        *("military_facility", "multi-unit_residential", "nuclear_powerplant", "office_building"),
        *("oil_or_gas_facility", "park", "parking_lot_or_garage", "place_of_worship"),
        *("police_station", "port", "prison", "race_track", "railway_bridge"),
        *("recreational_facility", "road_bridge", "runway", "shipyard", "shopping_mall"),
        *("single-unit_residential", "smokestack", "solar_farm", "space_facility", "stadium"),
        *("storage_tank", "surface_mine", "swimming_pool", "toll_booth", "tower"),
        *("tunnel_opening", "waste_disposal", "water_treatment_facility", "wind_farm", "zoo"),
    ),
)
FILES = WildsSet("fmow", "1.1", "rgb_metadata.csv")
REGIONS = "country_code_mapping.csv"
COLUMNS = ("split", "timestamp", "country_code", "category")
SPLITS = ("train", "val", "test", "seq")  # "seq" (sequestered) belongs to no benchmark
FIRST_HELD_OUT_YEAR, FIRST_TEST_YEAR = 2013, 2016
OTHER = "Other"  # the region of countries that the mapping does not know
BY_REGION = Metric(fields=("region",), ignore=(OTHER,))


class FMoW(BenchmarkFamily):
    """Images of 224 px in 62 classes, with groups by region and year."""

    suite: ClassVar[str] = SUITE
    names: ClassVar[Mapping[str, str]] = {
        "fmow-id": "FMoW-WILDS, the years of training (id_test)",
        "fmow-ood": "FMoW-WILDS, 2016 and later (test), worst region",
    }
    data_sets: ClassVar[Mapping[str, str]] = dict.fromkeys((*names, "fmow-train"), FILES.how_to_get)
    training_sets: ClassVar[tuple[str, ...]] = ("fmow",)

    def locate(self, name: str, data_root: Path | None = None) -> str:
        return str(FILES.place(data_root, name))

    def load(self, name: str, data_root: Path | None = None) -> Benchmark:
        """The benchmark `name`.

        As in the paper's Table 6, the headline is the plain accuracy on the years of training, and
        later the worst accuracy of a region, leaving out the region "Other".

        Raises:
            GcbenchError: the data are missing or incomplete, or a row of a table is broken.
        """
        shifted = name.endswith("-ood")
        metric = BY_REGION if shifted else Metric()
        return self._load(name, "test", data_root, metric, shifted=shifted)

    def load_training(
        self, name: str, data_root: Path | None = None
    ) -> tuple[Benchmark, Benchmark]:
        """Images before 2013, and others of the same years (id_val)."""
        return (
            self._load(f"{name}-train", "train", data_root, BY_REGION),
            self._load(f"{name}-val", "val", data_root, BY_REGION),
        )

    def _load(
        self, name: str, split: str, data_root: Path | None, metric: Metric, shifted: bool = False
    ) -> Benchmark:
        source, root = FILES.open(data_root, name)
        records = _records(source, root, split, shifted=shifted)
        return benchmark(name, source, root, records, FMOW_62, metric)


def _records(source: Source, root: str, wanted: str, *, shifted: bool) -> Iterator[Record]:
    region_of = {
        row.text("alpha-3"): row.cells["region"] or OTHER
        for row in read_rows(source, joined(root, REGIONS), ("alpha-3", "region"))
    }
    label_of = {category: label for label, category in enumerate(FMOW_62.labels)}
    # Image files are numbered by their row in the whole table, sequestered rows included.
    for number, row in enumerate(read_rows(source, joined(root, FILES.table), COLUMNS)):
        split, year = row.text("split", among=SPLITS), _year(row)
        in_time = year >= FIRST_TEST_YEAR if shifted else year < FIRST_HELD_OUT_YEAR
        if split == wanted and in_time:
            category = row.text("category")
            if category not in label_of:
                raise row.error("category", f"one of {len(label_of)} known categories")
            region = region_of.get(row.cells["country_code"], OTHER)
            groups = {"region": region, "year": str(year)}
            yield Record(f"images/rgb_img_{number}.png", label_of[category], groups)


def _year(row: Row) -> int:
    """The year in UTC, where the boundaries between the splits are drawn."""
    expected = "a time with its zone, as 2016-01-31T10:20:30Z"
    try:
        time = datetime.fromisoformat(row.cells["timestamp"])
    except ValueError:
        raise row.error("timestamp", expected) from None
    if time.tzinfo is None:
        raise row.error("timestamp", expected)
    return time.astimezone(UTC).year
