"""How the page looks: Gradio's theme, the header, and the light and dark switch.

Ink and greys only: the colours of `altub.plots.COLOURS` belong to what is measured, each with one meaning, and the page
hands them to its style sheet as variables (`--altub-flow`, ...).
"""

from __future__ import annotations

import gradio as gr

from altub.files import PACKAGE
from altub.plots import COLOURS

__all__ = ["ASSETS", "HEAD", "SWITCH_THEME_JS", "header", "make_theme"]

ASSETS = PACKAGE / "assets"

#: Turns the page dark or light, and remembers it.
SWITCH_THEME_JS = """() => {
  const dark = document.body.classList.toggle('dark');
  localStorage.setItem('altub-theme', dark ? 'dark' : 'light');
}"""

_VARIABLES = "".join(f"--altub-{name.replace('_', '-')}:{colour};" for name, colour in COLOURS.items())

# The remembered choice comes before the system's; an address with __theme in it comes before both.
HEAD = f"""
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>:root{{{_VARIABLES}}} body{{background:var(--body-background-fill)!important}}</style>
<script>
(() => {{
  const wish = new URLSearchParams(location.search).get('__theme') || localStorage.getItem('altub-theme');
  if (wish !== 'dark' && wish !== 'light') return;
  const apply = () => document.body.classList.toggle('dark', wish === 'dark');
  let quiet;
  // Gradio sets its own idea of the theme while it mounts; ours is put back until the page has settled.
  const watch = new MutationObserver(() => {{
    if (document.body.classList.contains('dark') !== (wish === 'dark')) apply();
  }});
  const begin = () => {{ apply(); watch.observe(document.body, {{attributes: true, attributeFilter: ['class']}});
    setTimeout(() => watch.disconnect(), 4000); }};
  document.body ? begin() : addEventListener('DOMContentLoaded', begin);
  addEventListener('click', (event) => {{ if (event.target.closest('#theme-switch')) watch.disconnect(); }}, true);
}})();
</script>
<script>
{(ASSETS / "page.js").read_text(encoding="utf-8")}
</script>
<script>
{(ASSETS / "charts.js").read_text(encoding="utf-8")}
</script>
<script>
{(ASSETS / "forms.js").read_text(encoding="utf-8")}
</script>
"""


def make_theme() -> gr.themes.Base:
    """Neutral ink on white or near-black, one corner radius, fonts that Gradio serves itself."""
    grey = gr.themes.colors.zinc
    # Of the faces that come with Gradio these two are whole; the one between them lacks most letters.
    weights = (400, 700)
    return gr.themes.Base(
        font=(gr.themes.LocalFont("IBM Plex Sans", weights), "ui-sans-serif", "system-ui", "sans-serif"),
        font_mono=(gr.themes.LocalFont("IBM Plex Mono", weights), "ui-monospace", "Consolas", "monospace"),
        primary_hue=grey,
        secondary_hue=grey,
        neutral_hue=grey,
        text_size=gr.themes.sizes.text_md,
        spacing_size=gr.themes.sizes.spacing_md,
        radius_size=gr.themes.sizes.radius_md,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="#0c0c0f",
        background_fill_primary="white",
        background_fill_primary_dark="#141418",
        background_fill_secondary="*neutral_100",
        background_fill_secondary_dark="#1b1b20",
        block_background_fill="white",
        block_background_fill_dark="#141418",
        block_border_width="0px",
        block_shadow="none",
        block_shadow_dark="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_title_text_weight="400",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_200",
        block_title_text_size="*text_sm",
        block_info_text_size="*text_sm",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        # Text of 4.5:1 on every background of the page, as WCAG AA wants.
        body_text_color_subdued="#62626c",
        body_text_color_subdued_dark="*neutral_400",
        input_placeholder_color="#62626c",
        input_placeholder_color_dark="*neutral_400",
        border_color_primary="*neutral_200",
        border_color_primary_dark="#2a2a31",
        input_background_fill="white",
        input_background_fill_dark="#1b1b20",
        input_border_width="1px",
        input_border_color="*neutral_200",
        input_border_color_dark="#2a2a31",
        input_border_color_focus="*neutral_900",
        input_border_color_focus_dark="*neutral_300",
        input_shadow="none",
        input_shadow_focus="0 0 0 2px color-mix(in srgb, currentColor 15%, transparent)",
        button_primary_background_fill="*neutral_900",
        button_primary_background_fill_hover="*neutral_700",
        button_primary_text_color="white",
        button_primary_background_fill_dark="*neutral_100",
        button_primary_background_fill_hover_dark="white",
        button_primary_text_color_dark="*neutral_900",
        button_secondary_background_fill="white",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_border_color="*neutral_300",
        button_secondary_background_fill_dark="#1b1b20",
        button_secondary_background_fill_hover_dark="#26262d",
        button_secondary_border_color_dark="#34343c",
        button_border_width="1px",
        button_large_text_weight="600",
        checkbox_background_color_selected="*neutral_900",
        # Gradio draws the tick white in both themes: the box must be darker than it in the dark one too.
        checkbox_background_color_selected_dark="*neutral_600",
        checkbox_border_color_selected="*neutral_900",
        checkbox_border_color_selected_dark="*neutral_300",
        slider_color="*neutral_900",
        slider_color_dark="*neutral_200",
        shadow_drop="none",
        shadow_drop_lg="none",
    )


def header() -> gr.Button:
    """The line on top of the page; returns the light and dark switch."""
    logo = (ASSETS / "logo.svg").read_text(encoding="utf-8") if (ASSETS / "logo.svg").is_file() else ""
    with gr.Row(elem_id="altub-header"):
        gr.HTML(
            f'<div class="brand"><span class="logo" aria-hidden="true">{logo}</span><div><h1>AltUB</h1>'
            "<p>Learns what good parts look like, and shows where a part differs and how sure it is.</p></div></div>",
            elem_id="altub-brand",
        )
        return gr.Button("◐", elem_id="theme-switch", size="sm", scale=0, min_width=44)
