"""Where the page listens, who may reach it, and the start of its server."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.middleware import Middleware

from altub import settings
from altub.errors import ConfigError
from altub.inference.model_cache import ModelCache
from altub.line.recorder import Recorder
from altub.ui.security import LOOPBACK, HostGuard, is_loopback
from altub.ui.server.body_limit import MAX_FILES, BodyLimit
from altub.ui.server.ending import Drain, Draining
from altub.ui.server.frontend import QuickerFrontend
from altub.ui.server.headers import SecurityHeaders, inline_scripts
from altub.ui.server.locality import LocalGate
from altub.ui.server.logins import Credentials, LoginBrake
from altub.ui.server.machines import MachineEndpoint, check_token
from altub.ui.server.preloading import Preloading
from altub.ui.server.temporary import TemporaryFiles
from altub.ui.theme import ASSETS, HEAD, make_theme

if TYPE_CHECKING:
    import gradio as gr

__all__ = ["ServerOptions", "launch", "make_options", "middleware"]

EVERYWHERE = ("0.0.0.0", "::")
SHARE_HOSTS = "*.gradio.live"  # where Gradio's tunnel comes out
SPACE_ORIGIN = "huggingface.co"  # the site around a Space
GIVE_LOGIN = "give a login (--auth-file, ALTUB_AUTH or --auth user:password)"
NO_AUTH = (
    "The page is open without a login: everybody who reaches it can use the models, start, stop and resume trainings, "
    "upload images, and see the runs with their test images. Folders and the Hugging Face token of this machine are "
    "not offered."
)


@dataclass(frozen=True)
class ServerOptions:
    """How the page is served; made and checked by `make_options`.

    Attributes:
        host: address to listen on.
        port: None takes the first free one from 7860 on.
        share: open Gradio's public tunnel.
        auth: the login that the page asks for; None asks for none.
        no_auth: others may come without a login.
        space: running as a Hugging Face Space.
        open_browser: open the page in this machine's browser.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    share: bool = False
    auth: Credentials | None = None
    no_auth: bool = False
    space: bool = False
    open_browser: bool = False

    @property
    def is_local(self) -> bool:
        """Only its owner, at this machine, reaches the page, and may name folders of it and use its token.

        `LocalGate` holds every single request of such a page to it.
        """
        opened = self.share or self.space or self.no_auth or _public_hosts()
        return is_loopback(self.host) and not opened

    def guard(self) -> dict[str, Any]:
        """Arguments of the `HostGuard` that fits."""
        hosts = [*LOOPBACK, *settings.allowed_hosts()]
        if self.host not in EVERYWHERE:
            hosts.append(self.host.strip("[]").lower())
        if self.share:
            hosts.append(SHARE_HOSTS)
        if self.space:
            hosts += settings.space_hosts()
        return {
            "hosts": tuple(dict.fromkeys(hosts)),
            "any_address": not is_loopback(self.host),
            "origins": (SPACE_ORIGIN,) if self.space else (),
        }


def make_options(
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
    auth: str | None = None,
    open_browser: bool = False,
    *,
    auth_file: str | Path | None = None,
    no_auth: bool = False,
) -> ServerOptions:
    """Options from what was given, else from the environment (`altub.settings`).

    Args:
        auth, auth_file: "user:password", or a file with it.
        no_auth: open the page to others without a login; it still uses no folder and no token of the owner.

    Raises:
        ConfigError: the page would be open to others without a password, or a value cannot be used.
    """
    host = host or settings.server_name()
    port = settings.server_port() if port is None else port
    if port is not None and not 1 <= port <= 65535:
        raise ConfigError(f"The port is {port}: it must lie between 1 and 65535.")
    credentials = _find_login(auth, auth_file)
    if credentials is not None and no_auth:
        raise ConfigError("--no-auth and a login contradict each other: leave one of them out (ALTUB_AUTH is one too).")
    space = settings.on_space()
    if credentials is None and not space and not no_auth:
        if share:
            raise ConfigError(f"A shared page is open to everybody: {GIVE_LOGIN}.")
        if not is_loopback(host):
            raise ConfigError(
                f"The page would be open to everybody who reaches {host}: {GIVE_LOGIN}, or leave --host at 127.0.0.1."
            )
        if _public_hosts():
            raise ConfigError(
                f"ALTUB_ALLOWED_HOSTS opens the page to everybody who reaches {_public_hosts()[0]}: {GIVE_LOGIN}, or "
                "unset it."
            )
    return ServerOptions(host, port, share and not space, credentials, no_auth, space, open_browser and not space)


def launch(
    demo: gr.Blocks,
    options: ServerOptions,
    *,
    files: TemporaryFiles | None = None,
    drain: Drain | None = None,
    models: ModelCache | None = None,
    recorder: Recorder | None = None,
) -> str:
    """Serves the page from another thread and returns its address.

    Args:
        demo: from `build_app`.
        options: of the server.
        files: where its temporary files are, which bounds uploads.
        drain: counts its requests.
        models: the loaded models, which the endpoint for machines uses as well; None: it has its own.
        recorder: logs what that endpoint inspects.

    Raises:
        ConfigError: the port is taken, or the address is not one of this machine.
    """
    try:
        _, url, _ = demo.launch(
            server_name=options.host,
            server_port=options.port,
            share=options.share,
            auth=options.auth.check if options.auth is not None else None,
            auth_message="After several wrong logins, the next attempts have to wait.",
            inbrowser=options.open_browser,
            max_file_size=settings.max_upload(),
            strict_cors=True,
            enable_monitoring=False,
            run_history=False,
            show_error=False,
            mcp_server=False,
            ssr_mode=False,
            pwa=False,
            num_workers=0,  # such workers would serve files on ports that the guard does not watch
            quiet=True,
            # Else Gradio asks for its own page first, which must come within 3 s even on a busy machine.
            _frontend=False,
            prevent_thread_lock=True,
            footer_links=["api"],  # its settings are of no use here
            favicon_path=ASSETS / "logo.svg",
            theme=make_theme(),
            css_paths=sorted(ASSETS.glob("*.css")),
            head=HEAD,
            app_kwargs={"middleware": middleware(options, files, drain, models, recorder)},
        )
    except OSError as error:
        where = f"port {options.port} of {options.host}" if options.port else f"any port of {options.host}"
        raise ConfigError(
            f"The page cannot listen on {where}: it is in use or not this machine's. Choose another --port or --host."
        ) from error
    if options.auth is None and not options.is_local and not options.space:
        print(NO_AUTH, file=sys.stderr, flush=True)
    print(f"AltUB: {url}   data: {settings.data_root()}   runs: {settings.runs_root()}", flush=True)
    return url


def middleware(
    options: ServerOptions,
    files: TemporaryFiles | None = None,
    drain: Drain | None = None,
    models: ModelCache | None = None,
    recorder: Recorder | None = None,
) -> list[Middleware]:
    """What every request goes through before Gradio sees it, outermost first."""
    room = files.upload if files is not None else None
    upload_bytes = min(MAX_FILES * settings.max_upload_bytes(), settings.temp_bytes())
    token = check_token(settings.api_token())
    return [
        Middleware(
            SecurityHeaders,
            scripts=inline_scripts(HEAD.encode()),
            embedded_by=f"https://{SPACE_ORIGIN}" if options.space else None,
        ),
        Middleware(HostGuard, **options.guard()),
        *([Middleware(LocalGate)] if options.is_local else []),
        Middleware(Draining, drain=drain or Drain()),
        Middleware(
            MachineEndpoint,
            models=models or ModelCache(),
            token=token,
            enabled=bool(token) or options.is_local,
            image_bytes=settings.max_upload_bytes(),
            recorder=recorder,
        ),
        Middleware(BodyLimit, body_bytes=settings.max_body_bytes(), upload_bytes=upload_bytes, room=room),
        *([Middleware(LoginBrake)] if options.auth is not None else []),
        *([] if settings.zero_gpu() else [Middleware(Preloading)]),  # there `altub.ui.space` has done it
        Middleware(QuickerFrontend),
    ]


def _public_hosts() -> list[str]:
    """Allowed names by which others than this machine's users may reach the page."""
    return [name for name in settings.allowed_hosts() if not is_loopback(name)]


def _find_login(auth: str | None, auth_file: str | Path | None) -> Credentials | None:
    if auth is not None and auth_file is not None:
        raise ConfigError("The login is given twice: leave out --auth or --auth-file.")
    if auth is None and auth_file is None:
        auth, auth_file = settings.auth(), settings.auth_file()
    if auth is None and auth_file is not None:
        try:
            auth = Path(auth_file).expanduser().read_text(encoding="utf-8").strip("\r\n")
        except (OSError, ValueError) as error:
            raise ConfigError("The file of the login cannot be read: check --auth-file or ALTUB_AUTH_FILE.") from error
    return Credentials.parse(auth) if auth is not None else None
