"""The Inspect tab: pictures in; heatmaps, verdicts and files out."""

from __future__ import annotations

import gradio as gr

from altub.plots import COLOUR_MAPS
from altub.settings import uploads_are_shared
from altub.ui.choices import Choices
from altub.ui.dropped import NAMES_JS
from altub.ui.inspect import views
from altub.ui.inspect.blend import blend
from altub.ui.inspect.handlers import InspectHandlers
from altub.ui.inspect.inspection import Look
from altub.ui.inspect.review import review_list
from altub.ui.marks import stamp_field
from altub.ui.services import Services

__all__ = ["build"]

REFRESH = 5.0  # seconds between two updates of the list of runs
SLIDER_AT = 14  # per cent from the left: shows mostly the overlay
# Batches at a time. They share the model (two passes at a time) and the room for decoded images; one that waits for
# room must not keep the others waiting.
MODEL_WORK = {"concurrency_id": "altub-model", "concurrency_limit": 10}
QUIET = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}

TO_TRAIN_JS = """() => { document.querySelector('#altub-tabs button[role="tab"]')?.click(); }"""
TO_LABEL_JS = """() => {
  const tabs = [...document.querySelectorAll('#altub-tabs button[role="tab"]')];
  tabs.find((tab) => tab.textContent.trim() === 'Label')?.click();
}"""
# On a phone the result is far below the upload field.
SHOW_RESULT_JS = """() => {
  if (innerWidth < 768) document.querySelector('#inspect-result')?.scrollIntoView({behavior: 'smooth'});
}"""
# The arrow keys step through the batch, unless the focused element uses them: a slider, a list, a text field, the tabs.
KEYS_JS = """() => {
  if (window.altubKeys) return;
  window.altubKeys = true;
  addEventListener('keydown', (event) => {
    const button = {ArrowLeft: '#inspect-previous', ArrowRight: '#inspect-next'}[event.key];
    if (!button || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || event.defaultPrevented) return;
    const owner = 'input, textarea, select, [contenteditable], [role=tab], [role=slider], [role=listbox], ' +
      '[role=grid], [role=dialog], #inspect-slider';
    if (event.target.closest?.(owner)) return;
    const target = document.querySelector(button);
    if (target && target.offsetParent !== null) target.click();
  });
}"""
# A browser's last inspections: ids that cannot be guessed, for whoever has one sees its images. (A `gr.BrowserState` is
# empty until its tab is opened.)
KEPT_JS = """(() => {
  try { return JSON.parse(localStorage.getItem('altub-inspections')) ?? []; } catch { return []; }
})()"""
REMEMBERED_JS = f"(session, _) => [session, {KEPT_JS}]"
RESTORE_JS = f"(_, __, ...look) => [{KEPT_JS}, new URLSearchParams(location.search).get('run'), ...look]"
REMEMBER_JS = "(ids) => { localStorage.setItem('altub-inspections', JSON.stringify(ids ?? [])); }"
FETCH_JS = """() => {
  // The button gets its address shortly after the response arrives.
  const click = (left) => {
    const link = document.querySelector('#inspect-file a[href], a#inspect-file[href]');
    if (link) link.click();
    else if (document.querySelector('#inspect-file')) document.querySelector('#inspect-file').click();
    else if (left) setTimeout(() => click(left - 1), 100);
  };
  setTimeout(() => click(20), 150);
}"""


def build(demo: gr.Blocks, services: Services, tab: gr.Tab | None = None) -> None:
    """Fills the tab; call it inside `with gr.Tab("Inspect", id="inspect") as tab:`.

    Args:
        demo: the page, for its load event.
        services: has the loaded models and the visitors' batches.
        tab: the tab, so that the list of runs is updated when it is opened.
    """
    on = InspectHandlers(services)
    session = gr.State("")
    remembered = gr.JSON(visible=False)  # ids of this browser's inspections, of its local storage
    shown = gr.State(0)  # number of the shown image
    seen = stamp_field()  # of the list of runs

    with gr.Row(elem_id="inspect", equal_height=False):
        with gr.Column(scale=2, min_width=290, elem_id="inspect-left") as left:
            with gr.Column(elem_id="inspect-run-group"):
                run = Choices([], label="Model", elem_id="inspect-run")
                model_note = gr.HTML(elem_id="inspect-model-note")
            files = gr.File(
                file_count="multiple", show_label=False, label="Images to inspect", height=120, elem_id="inspect-files"
            )
            names = gr.JSON(visible=False)  # of the files, sent with them
            notice = gr.HTML(elem_id="inspect-notice")
            stop = gr.Button("Stop inspection", size="sm", visible=False, elem_id="inspect-stop")
            kept = Choices(
                [], label="Inspections", visible=False, filterable=False, info="Kept for a day.", elem_id="inspect-kept"
            )
            with gr.Column(visible=False, elem_id="inspect-threshold") as threshold_group:
                with gr.Column(elem_id="inspect-rate-group"):
                    rate = gr.Slider(
                        0,
                        1,  # as many as the model's held-out images tell apart, once there is a batch
                        value=0,
                        step=1,
                        label="False-alarm rate",
                        info="Share of good parts that may be called defects. Sets the threshold.",
                        buttons=[],
                        elem_id="inspect-rate",
                    )
                    rate_note = gr.HTML(elem_id="inspect-rate-note")
                histogram = gr.HTML(elem_id="inspect-histogram")
            with gr.Column(visible=False, elem_id="inspect-examples-group") as examples_group:
                gr.HTML('<p class="caption">Test images of this category</p>')
                examples = gr.Gallery(
                    show_label=False,
                    height="auto",
                    object_fit="cover",
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                    elem_id="inspect-examples",
                )
        with gr.Column(scale=8, min_width=320, elem_id="inspect-right"):
            with gr.Column(visible=False, elem_id="inspect-no-model") as no_model:
                gr.HTML(views.NO_MODEL)
                to_train = gr.Button("Go to Train", variant="primary", elem_id="inspect-to-train")
            no_image = gr.HTML(views.NO_IMAGE, elem_id="inspect-empty")
            stale = gr.HTML(elem_id="inspect-stale")
            with gr.Row(visible=False, equal_height=False, elem_id="inspect-result") as result:
                with gr.Column(scale=5, min_width=320, elem_id="inspect-picture"):
                    verdict = gr.HTML(elem_id="inspect-verdict")
                    slider = gr.ImageSlider(
                        type="filepath",
                        interactive=False,
                        show_label=False,
                        label="Original and overlay",
                        slider_position=SLIDER_AT,
                        buttons=["fullscreen"],
                        elem_id="inspect-slider",
                    )
                    blended = blend(elem_id="inspect-blend")
                    legend = gr.HTML(elem_id="inspect-legend")
                    with gr.Row(elem_id="inspect-look"):
                        opacity = gr.Slider(
                            0,
                            1,
                            value=Look.opacity,
                            step=0.05,
                            label="Heatmap opacity",
                            buttons=[],
                            min_width=140,
                            elem_id="inspect-opacity",
                        )
                        colour_map = gr.Dropdown(
                            list(COLOUR_MAPS), value=Look.colour_map, label="Colours", min_width=120, filterable=False
                        )
                        contour = gr.Checkbox(
                            value=Look.contour,
                            label="Outline defects",
                            container=False,
                            min_width=130,
                            elem_id="inspect-contour",
                        )
                    scales = gr.HTML(elem_id="inspect-scales")
                with gr.Column(scale=3, min_width=320, elem_id="inspect-batch"):
                    summary = gr.HTML(elem_id="inspect-summary")
                    with gr.Row(elem_id="inspect-steps"):
                        previous = gr.Button("← Previous", size="sm", min_width=80, elem_id="inspect-previous")
                        following = gr.Button("Next →", size="sm", min_width=80, elem_id="inspect-next")
                    review = review_list(elem_id="inspect-review")
                    with gr.Row(elem_id="inspect-actions"):
                        report_button = gr.Button("Report", size="sm", elem_id="inspect-report")
                        csv_button = gr.Button("Table (CSV)", size="sm", elem_id="inspect-csv")
                        label = gr.Button("Label", size="sm", visible=uploads_are_shared(), elem_id="inspect-label")
                        again = gr.Button("Re-inspect all", size="sm", elem_id="inspect-again")
                        new = gr.Button("New", size="sm", elem_id="inspect-new")
                        clear = gr.Button("Delete", size="sm", elem_id="inspect-clear")
                    with gr.Accordion("Pictures (zip)", open=False, elem_id="inspect-export"):
                        overlays = gr.Radio(
                            [("JPEG", "jpeg"), ("WebP", "webp"), ("PNG", "png"), ("None", "none")],
                            value="jpeg",
                            label="Overlays",
                        )
                        maps = gr.Radio(
                            [("16-bit PNG", "png"), ("Float TIFF", "tiff"), ("None", "none")],
                            value="png",
                            label="Maps",
                            info="PNG: 1000 is the highest value on good parts. TIFF: raw values.",
                        )
                        masks = gr.Checkbox(True, label="Masks (PNG)")
                        zip_button = gr.Button("Download zip", size="sm", elem_id="inspect-zip")
                    file = gr.DownloadButton(visible="hidden", elem_id="inspect-file")

    look = [opacity, colour_map, contour]
    picture = [verdict, slider, blended, legend, histogram, scales]
    everything = [
        session,
        shown,
        notice,
        no_image,
        threshold_group,
        result,
        *picture,
        summary,
        review,
        rate,
        rate_note,
        stale,
    ]

    # The list of runs follows the runs folder; examples follow the chosen run.
    moments = [gr.Timer(REFRESH).tick, *([tab.select] if tab is not None else [])]
    refreshed = [run, seen, session], [run, seen, no_model, no_image, left, stale]
    gr.on(moments, on.refresh, *refreshed, **QUIET)
    to_train.click(None, js=TO_TRAIN_JS, api_visibility="private")

    # After a reload the last inspection is there again: once the list of runs is, which it belongs to.
    asked_run = gr.JSON(visible=False)
    demo.load(on.refresh, *refreshed, **QUIET).then(
        on.restore, [remembered, asked_run, *look], [*everything, run, kept], js=RESTORE_JS, **QUIET
    )
    kept.input(on.open_kept, [kept, *look], [*everything, run], **QUIET)
    remembers = {"fn": on.remember, "inputs": [session, remembered], "outputs": [remembered, kept], **QUIET}
    remembers["js"] = REMEMBERED_JS
    writes = {"fn": None, "inputs": remembered, "outputs": None, "js": REMEMBER_JS, "api_visibility": "private"}

    # The model runs.
    works = {"outputs": everything, "show_progress_on": notice, "api_visibility": "private", **MODEL_WORK}
    begins = {"outputs": [session, stop], **QUIET}
    ended = {"fn": lambda: gr.Button(visible=False), "inputs": None, "outputs": stop, **QUIET}
    dropped = files.upload(on.begin, session, **begins).then(
        on.inspect_files, [files, names, run, session, rate, *look], js=NAMES_JS, **works
    )
    dropped.then(lambda: None, None, files, **QUIET)  # the field accepts the next ones
    dropped.then(**ended)
    clicked = examples.select(on.inspect_example, [run, session, rate, *look], **works)
    for done in (dropped, clicked):
        done.success(None, js=SHOW_RESULT_JS, api_visibility="private")
    repeated = again.click(on.begin, session, **begins).then(on.inspect_again, [run, session, rate, *look], **works)
    repeated.then(**ended)
    # Another model: what is there is greyed out, and inspected again where a person chose it.
    run.change(on.choose_run, [run, session], [examples, examples_group, model_note, stale], **QUIET)
    followed = run.input(on.begin_to_follow, [run, session], **begins).then(
        on.follow_run, [run, session, rate, *look], **works
    )
    followed.then(**ended)
    for done in (dropped, clicked, repeated, followed):
        done.success(**remembers).then(**writes)
    stop.click(on.stop, session, None, **QUIET)

    # The model does not run.
    gr.on(
        [rate.input],
        on.relabel,
        [session, shown, rate, *look],
        [*picture, summary, review, rate, rate_note],
        trigger_mode="always_last",
        **QUIET,
    )
    # Opacity and outline are the browser's own (`blend`).
    colour_map.input(on.show, [session, shown, rate, *look], picture, trigger_mode="always_last", **QUIET)
    review.pick(on.pick, [session, rate, *look], [shown, *picture], trigger_mode="always_last", **QUIET)
    for button, by in ((previous, -1), (following, 1)):
        button.click(None, js=f"() => window.altubReview?.step({by})", api_visibility="private")
    demo.load(None, js=KEYS_JS, api_visibility="private")
    clear.click(on.clear, [session, run], everything, **QUIET).then(**remembers).then(**writes)
    new.click(on.begin_new, run, everything, **QUIET).then(**remembers).then(**writes)
    label.click(on.send_to_label, session, None, show_progress_on=summary, api_visibility="private").success(
        None, js=TO_LABEL_JS, api_visibility="private"
    )
    fetches = {"outputs": file, "api_visibility": "private", "concurrency_limit": 2}
    csv_button.click(on.write_csv, [session, rate], show_progress="hidden", **fetches).success(
        None, js=FETCH_JS, api_visibility="private"
    )
    packed = zip_button.click(
        on.write_zip, [session, rate, overlays, maps, masks, *look], show_progress_on=summary, **fetches
    )
    reported = report_button.click(on.write_report, [session, rate, *look], show_progress_on=summary, **fetches)
    for ready in (packed, reported):
        ready.success(None, js=FETCH_JS, api_visibility="private")
