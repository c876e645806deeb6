# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Argument specs that several modules share; each pairs with the doc fragment of the same name."""

from __future__ import annotations

import os
import typing as t

from ._engine import DEFAULT_TIMEOUT_SECONDS

Spec = dict[str, dict[str, t.Any]]


def docker_connection_arguments() -> Spec:
    """Return the options of the fragment ``docker_connection``; :class:`EngineOptions` takes them from the parameters."""
    return {
        "docker_host": {"type": "str", "fallback": _environment("DOCKER_HOST")},
        "tls": {"type": "bool", "default": False, "fallback": _environment("DOCKER_TLS")},
        "validate_certs": {"type": "bool", "default": False, "fallback": _environment("DOCKER_TLS_VERIFY")},
        "tls_hostname": {"type": "str", "fallback": _environment("DOCKER_TLS_HOSTNAME")},
        "ca_path": {"type": "path", "fallback": _certificate("ca.pem")},
        "client_cert": {"type": "path", "fallback": _certificate("cert.pem")},
        # The name of a file, which is no secret.
        "client_key": {"type": "path", "no_log": False, "fallback": _certificate("key.pem")},
        "api_version": {"type": "str", "fallback": _environment("DOCKER_API_VERSION")},
        "timeout": {"type": "int", "default": DEFAULT_TIMEOUT_SECONDS, "fallback": _environment("DOCKER_TIMEOUT")},
    }


def project_selection_arguments() -> Spec:
    """Return the options of the fragment ``project_selection``; :class:`Selection` takes them from the parameters."""
    return {
        "project_src": {"type": "path"},
        "project_name": {"type": "str"},
        "services": {"type": "list", "elements": "str", "default": []},
    }


def stacks_arguments() -> Spec:
    """Return the options of the fragment ``project_selection.stacks``."""
    return {"stacks": {"type": "list", "elements": "dict", "default": [], "options": project_selection_arguments()}}


def log_source_arguments() -> Spec:
    """Return the options of the fragment ``log_sources``."""
    return {"paths": {"type": "list", "elements": "str", "default": []}, "units": {"type": "list", "elements": "str", "default": []}}


def one_project_arguments() -> Spec:
    """Return the options of the fragment ``project_selection.one``."""
    return {name: option for name, option in project_selection_arguments().items() if name != "services"}


def remediation_arguments() -> Spec:
    """Return the options of the fragment ``remediation``; :class:`AuditOptions` takes them from the parameters."""
    return {
        "audit_log": {"type": "path", "default": "/var/log/stackops/remediation.jsonl"},
        "audit_actor": {"type": "str"},
        "audit_reason": {"type": "str"},
    }


def expected_port_arguments() -> Spec:
    """Return the keys of a port that is meant to be reachable; :class:`Expected` takes them."""
    return {
        "port": {"type": "int", "required": True},
        "protocol": {"type": "str", "choices": ["tcp", "udp", "sctp"], "default": "tcp"},
        "family": {"type": "str", "choices": ["any", "ipv4", "ipv6"], "default": "any"},
        "from": {"type": "list", "elements": "str", "default": []},
    }


def _environment(variable: str) -> tuple[t.Callable[..., str], list[str]]:
    """Return a ``fallback`` for an argument spec; a variable that is set to nothing counts as not set."""

    def fallback(name: str) -> str:
        value = os.environ.get(name)
        if not value:
            raise _not_found()
        return value

    return fallback, [variable]


def _certificate(file_name: str) -> tuple[t.Callable[..., str], list[str]]:
    def fallback(name: str) -> str:
        directory = os.environ.get("DOCKER_CERT_PATH")
        if not directory:
            raise _not_found()
        return os.path.join(directory, name)

    return fallback, [file_name]


def _not_found() -> Exception:
    # Imported here, because a module util loads without Ansible.
    from ansible.module_utils.errors import AnsibleFallbackNotFound  # pylint: disable=import-outside-toplevel

    return t.cast(Exception, AnsibleFallbackNotFound())
