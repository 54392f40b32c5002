"""Bodies for publishing: archives of stages, whole, cut off and altered, and any bytes."""

from pathlib import Path

import schemathesis
from hypothesis import strategies as st

ARCHIVES = [path.read_bytes() for path in sorted(Path("archives").glob("*.stage"))]


@st.composite
def altered(draw):
    archive = bytearray(draw(st.sampled_from(ARCHIVES)))
    for _ in range(draw(st.integers(1, 4))):
        archive[draw(st.integers(0, len(archive) - 1))] = draw(st.integers(0, 255))
    return bytes(archive[: draw(st.integers(0, len(archive)))])


whole = st.sampled_from(ARCHIVES)
schemathesis.openapi.media_type("application/octet-stream", st.one_of(whole, altered(), st.binary(max_size=2000)))
