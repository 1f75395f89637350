"""Which columns of a source are read."""

import pyarrow as pa
import pyarrow.parquet as pq

from rstar2.config import ProblemSource
from rstar2.preparation.columns import rows_of


def test_of_a_local_parquet_file_only_the_columns_of_the_source_are_read(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"problem": ["1 + 1?"], "generated_solution": ["long"], "answer": [2]}), path)
    source = ProblemSource(path=str(path), licence="MIT", columns=("problem", "answer"))
    assert [row.values for row in rows_of(source)] == [{"problem": "1 + 1?", "answer": 2}]
