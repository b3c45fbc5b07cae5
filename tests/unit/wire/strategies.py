"""What the tests of the protocol are tried with."""

from hypothesis import strategies as st

u8, u16, u64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 64))
streams = st.from_regex(r"[a-z0-9_-]{1,64}", fullmatch=True).filter(lambda name: not name.startswith("hello"))
texts = st.text(max_size=10)
json_objects = st.dictionaries(
    texts,
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)
