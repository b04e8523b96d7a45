"""One generation in memory: language model, items, hot rows of users and histories, and the version they are at."""

from __future__ import annotations

from serving.recommender.catalogue import Catalogue, new_catalogue
from serving.recommender.config import RecommenderConfig
from serving.recommender.language_model import LanguageModel
from serving.recommender.version import PreparedRecommender, prepare
from serving.scorer.followed_generation import FollowedGeneration
from serving.scorer.hot_rows import HotRows
from streams.contract.columns import Array
from streams.contract.errors import FormatError
from streams.contract.manifest import Generation, Manifest, ModelUpdate
from streams.contract.recommender import HISTORIES, ITEMS, USERS, temperature_of


class ServedRecommender(FollowedGeneration[PreparedRecommender]):
    """Everything one generation needs to recommend."""

    def __init__(
        self,
        generation: Generation,
        head: Manifest,
        language_model: LanguageModel,
        catalogue: Catalogue,
        config: RecommenderConfig,
    ) -> None:
        """Raises FormatError where the generation's tables are not a recommender's."""
        super().__init__(generation, head)
        dim = language_model.width + 1
        if dict.fromkeys((USERS, HISTORIES, ITEMS), dim).items() != generation.tables.items():
            raise FormatError(f"are not users, histories and items of dimension {dim}", field="tables",
                              value=generation.tables, remedy="start a new generation")  # fmt: skip
        self.users_table, self.histories_table, self.items_table = (
            list(generation.tables).index(table) for table in (USERS, HISTORIES, ITEMS)
        )
        self.language_model = language_model
        self.catalogue = catalogue
        self.temperature = 1.0
        self.rows = HotRows(
            len(generation.tables), dim, capacity=config.max_hot_rows, max_unknown_ids=config.max_unknown_ids
        )
        self._newest_catalogue = catalogue

    def prepare(self, update: ModelUpdate) -> PreparedRecommender:
        version = prepare(update, self.generation, self._newest_catalogue)
        self._newest_catalogue = version.catalogue
        return version

    def put_in(self, version: PreparedRecommender) -> None:
        users = version.users
        self.catalogue, self.temperature = version.catalogue, version.temperature
        self.language_model.remove_items(version.gone_items)
        self.language_model.put_items(version.item_numbers, version.item_rows)
        self.rows.forget(users.dead_tables, users.dead_ids, users.manifest.version)
        self.rows.put(users.tables, users.ids, users.rows, users.manifest.version)

    def release(self, stored_version: int) -> None:
        self.rows.release(stored_version)

    def set_dense(self, dense: dict[str, Array]) -> None:
        """Sets what the store's dense part says, before any version is followed. Raises FormatError."""
        self.temperature = temperature_of(dense)
        self.catalogue = self._newest_catalogue = new_catalogue(dense, self.catalogue)
