# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How to reach the container engine; the matching argument spec is in ``module_utils/_arguments.py``."""

    DOCUMENTATION = r"""
options:
  docker_host:
    description:
      - The URL of the engine's API, for example V(unix:///var/run/docker.sock) or V(tcp://192.0.2.23:2376).
      - Without it the socket is looked for on the target, in this order. Docker's C(/var/run/docker.sock), the one of a rootless
        Docker in C($XDG_RUNTIME_DIR) or C(/run/user/UID), then Podman's.
      - If the value is not specified in the task, the value of the environment variable E(DOCKER_HOST) is used instead.
    type: str
    version_added: 1.0.0
  tls:
    description:
      - Connect by TLS without verifying the engine's certificate.
      - If the value is not specified in the task, the value of the environment variable E(DOCKER_TLS) is used instead.
    type: bool
    default: false
    version_added: 1.0.0
  validate_certs:
    description:
      - Connect by TLS and verify the engine's certificate. It takes precedence over O(tls).
      - If the value is not specified in the task, the value of the environment variable E(DOCKER_TLS_VERIFY) is used instead.
    type: bool
    default: false
    version_added: 1.0.0
  tls_hostname:
    description:
      - The name to expect in the engine's certificate, where it differs from the one in O(docker_host).
      - Docker SDK for Python 7 and later always takes the name from O(docker_host).
      - If the value is not specified in the task, the value of the environment variable E(DOCKER_TLS_HOSTNAME) is used instead.
    type: str
    version_added: 1.0.0
  ca_path:
    description:
      - A file on the target with the certificate of the authority that signed the engine's certificate.
      - If the value is not specified in the task and the environment variable E(DOCKER_CERT_PATH) is set, the file C(ca.pem) in
        that directory is used.
    type: path
    version_added: 1.0.0
  client_cert:
    description:
      - A file on the target with the client's certificate.
      - If the value is not specified in the task and the environment variable E(DOCKER_CERT_PATH) is set, the file C(cert.pem) in
        that directory is used.
    type: path
    version_added: 1.0.0
  client_key:
    description:
      - A file on the target with the client's key.
      - If the value is not specified in the task and the environment variable E(DOCKER_CERT_PATH) is set, the file C(key.pem) in
        that directory is used.
    type: path
    version_added: 1.0.0
  api_version:
    description:
      - The version of the API to speak. By default the newest that the engine and the Docker SDK for Python have in common.
      - If the value is not specified in the task, the value of the environment variable E(DOCKER_API_VERSION) is used instead.
    type: str
    version_added: 1.0.0
  timeout:
    description:
      - How many seconds to wait for each answer of the engine.
      - If the value is not specified in the task, the value of the environment variable E(DOCKER_TIMEOUT) is used instead.
    type: int
    default: 20
    version_added: 1.0.0
requirements:
  - "Docker SDK for Python 4.1 or later on the target (package C(python3-docker))"
notes:
  - The engine's socket belongs to root. Use C(become=true); membership in the C(docker) group works as well, but means root.
"""
