"""Random valid architectures and sizes, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from dilnas.arch import DOWNSAMPLES, POS_EMBEDS, STEMS, Architecture, Stage


@st.composite
def stages(draw: st.DrawFn, max_dim: int = 48, max_depth: int = 2) -> Stage:
    """Any valid stage, small enough to build."""
    heads = draw(st.integers(1, 6))
    head_dim = draw(st.integers(1, max(1, max_dim // heads)))
    msda = draw(st.integers(0, max_depth))
    scales = draw(st.sampled_from([n for n in range(1, heads + 1) if heads % n == 0]))
    return Stage(
        dim=heads * head_dim,
        num_heads=heads,
        msda_depth=msda,
        global_depth=draw(st.integers(0 if msda else 1, max_depth)),
        window_size=draw(st.sampled_from([1, 3, 5, 7])),
        dilations=tuple(draw(st.lists(st.integers(1, 5), min_size=scales, max_size=scales))),
        mlp_ratio=draw(
            st.sampled_from([0.5, 1.0, 1.3, 2.0, 3.5, 4.0]).filter(
                lambda r: int(heads * head_dim * r) >= 1
            )
        ),
    )


@st.composite
def architectures(
    draw: st.DrawFn, min_stages: int = 1, max_stages: int = 4, max_dim: int = 48
) -> Architecture:
    """Any valid architecture, small enough to build."""
    return Architecture(
        stages=tuple(
            draw(st.lists(stages(max_dim=max_dim), min_size=min_stages, max_size=max_stages))
        ),
        stem=draw(st.sampled_from(STEMS)),
        downsample=draw(st.sampled_from(DOWNSAMPLES)),
        pos_embed=draw(st.sampled_from(POS_EMBEDS)),
        qkv_bias=draw(st.booleans()),
        num_classes=draw(st.sampled_from([0, 1, 10, 37])),
        in_chans=draw(st.sampled_from([1, 3, 4])),
    )


def sides(architecture: Architecture, most: int = 3) -> st.SearchStrategy[tuple[int, int]]:
    """Heights and widths that the architecture's strides allow, mostly different."""
    side = st.integers(1, most).map(lambda n: n * architecture.stride)
    return st.tuples(side, side)
