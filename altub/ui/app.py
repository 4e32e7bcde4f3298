"""The page as a whole: its shell, its tabs, and the way in for `python app.py` and `python -m altub ui`."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from contextlib import closing

from altub.ui.quick_import import collection_paused

with collection_paused():
    import gradio as gr

    from altub.deploy.server.notices import notice_html
    from altub.errors import AltUBError
    from altub.runs.launchers.process import ProcessLauncher
    from altub.runs.launchers.standby import Standby
    from altub.settings import uploads_are_shared
    from altub.ui import api
    from altub.ui.compare import tab as compare_page
    from altub.ui.inspect import tab as inspect_page
    from altub.ui.label import api as label_api
    from altub.ui.label import tab as label_page
    from altub.ui.launch import ServerOptions, launch, make_options
    from altub.ui.line import tab as line_page
    from altub.ui.links import connect_tabs
    from altub.ui.models import tab as models_page
    from altub.ui.server.ending import Drain, Ending
    from altub.ui.server.temporary import TemporaryFiles
    from altub.ui.services import Services
    from altub.ui.theme import SWITCH_THEME_JS, header
    from altub.ui.train import tab as train_page

__all__ = ["build_app", "main", "run"]


def build_app(options: ServerOptions | None = None, services: Services | None = None) -> gr.Blocks:
    """The page with all its tabs, not yet served.

    Args:
        options: who may reach it; default this machine alone.
        services: what its visitors share; default services of its own.
    """
    options, services = options or ServerOptions(), services or Services()
    with gr.Blocks(
        title="AltUB",
        analytics_enabled=False,
        fill_width=True,
    ) as demo:
        theme_switch = header()
        if options.space:
            gr.HTML(notice_html())
        with gr.Tabs(elem_id="altub-tabs") as tabs:
            with gr.Tab("Train", id="train"):
                train = train_page.build(demo, services, may_name_folders=options.is_local)
            with gr.Tab("Inspect", id="inspect") as tab:
                inspect_page.build(demo, services, tab)
            with gr.Tab("Label", id="label") as label_tab:
                labels = label_page.build(services, label_tab, is_local=options.is_local)
            with gr.Tab("Compare", id="compare") as compare_tab:
                compare_page.build(compare_tab, tabs, services.watch)
            with gr.Tab("Models", id="models") as models_tab:
                runs = models_page.build(demo, models_tab, options, services.watch, services.models)
            with gr.Tab("Line", id="line") as line_tab:
                line_page.build(demo, services, line_tab, options)
        inspect_run = next(block for block in demo.blocks.values() if block.elem_id == "inspect-run")
        connect_tabs(demo, tabs, train, runs, inspect_run, labels)
        theme_switch.click(None, js=SWITCH_THEME_JS, api_visibility="private", show_progress="hidden")
        api.build(services.models)
        if uploads_are_shared():
            label_api.build(services)
    return demo


def main(
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
    auth: str | None = None,
    open_browser: bool = False,
    services: Services | None = None,
    *,
    auth_file: str | None = None,
    no_auth: bool = False,
) -> int:
    """Serves the page until it is told to end; what is None comes from the environment. Returns the exit code.

    Raises:
        ConfigError: the settings do not allow it, or the port is taken; in one sentence.
    """
    options = make_options(host, port, share, auth, open_browser, auth_file=auth_file, no_auth=no_auth)
    drain, standby = Drain(), Standby()
    services = services or Services(ProcessLauncher(standby))
    with TemporaryFiles() as files, closing(standby), Ending(drain, files.close) as ending:
        with collection_paused():
            demo = build_app(options, services)  # after the folder was made: its components remember it
            launch(demo, options, files=files, drain=drain, models=services.models, recorder=services.recorder)
        gc.freeze()  # what a server is made of stays as long as it: no collection looks through it again
        code = ending.serve(lambda: demo.is_running)
        if code:  # requests still run, in threads that would keep the process
            ending.end_at_once(code)
        demo.close(verbose=False)
    return code


def run(arguments: Sequence[str] | None = None, services: Services | None = None) -> int:
    """`main` with the options of the command line; the exit code, 2 for what the user must change."""
    parser = argparse.ArgumentParser(prog="app.py", description="Serves the AltUB page.")
    parser.add_argument("--host", help="address to listen on (GRADIO_SERVER_NAME, else 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port (GRADIO_SERVER_PORT, else the first free one from 7860 on)")
    parser.add_argument("--share", action="store_true", help="also serve it through Gradio's public tunnel")
    parser.add_argument(
        "--auth", metavar="USER:PASSWORD", help="what visitors log in with (ALTUB_AUTH); other users see it in ps"
    )
    parser.add_argument("--auth-file", metavar="FILE", help="a file with what visitors log in with (ALTUB_AUTH_FILE)")
    parser.add_argument("--no-auth", action="store_true", help="serve others without a login; prints what that opens")
    parser.add_argument("--open", action="store_true", help="open the page in this machine's browser")
    given = parser.parse_args(arguments)
    try:
        return main(
            given.host,
            given.port,
            given.share,
            given.auth,
            given.open,
            services,
            auth_file=given.auth_file,
            no_auth=given.no_auth,
        )
    except AltUBError as error:
        print(error, file=sys.stderr)
        return 2
