# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How to reach PostgreSQL; the matching argument spec is in ``module_utils/_postgres.py``."""

    DOCUMENTATION = r"""
options:
  login_host:
    description:
      - Host name, IP address or socket directory of a PostgreSQL server outside Compose, as the target reaches it.
      - Without O(login_host) and O(dsn) the PostgreSQL containers of the Compose projects are looked at. Each is reached over its
        container network, else by its published port, else by C(psql) inside the container, which is also the way where the engine is
        rootless or remote and where C(psycopg2) is missing on the target.
    type: str
    version_added: 1.0.0
  login_port:
    description:
      - Port of the server at O(login_host). The default is V(5432).
    type: int
    version_added: 1.0.0
  login_user:
    description:
      - User to log in as. A superuser is not needed, the role C(pg_monitor) suffices.
      - The default is V(postgres). For a container it is found in the container's environment, or in that of an application that uses it.
    type: str
    version_added: 1.0.0
  login_password:
    description:
      - Password of O(login_user).
      - For a container it is found in the container's environment, in the secret file that this names, or in the environment of an
        application that uses it.
      - Ansible replaces the value wherever it stands in the result. A password that is a common word, such as C(postgres), garbles
        the result.
    type: str
    version_added: 1.0.0
  login_db:
    description:
      - Database to log in to. The default is the one that the container was created with, else the one named like the user.
    type: str
    version_added: 1.0.0
  dsn:
    description:
      - Where and how to log in as one string, a URL (C(postgresql://user:password@host:5432/database?sslmode=require)) or a libpq
        connection string (C(host=... dbname=... user=...)). The names of SQLAlchemy's drivers, such as C(postgresql+asyncpg), are understood.
      - The options C(login_*) take precedence over what it says.
    type: str
    version_added: 1.0.0
  ssl_mode:
    description:
      - How TLS is negotiated. Only V(verify-ca) and V(verify-full) protect from an impostor.
    type: str
    choices: [disable, allow, prefer, require, verify-ca, verify-full]
    default: prefer
    version_added: 1.0.0
  ssl_root_cert:
    description:
      - A file on the target with the certificate of the authority that signed the server's certificate.
    type: path
    version_added: 1.0.0
    aliases: [ca_cert]
  connect_timeout:
    description:
      - How many seconds one attempt to connect may take.
    type: int
    default: 3
    version_added: 1.0.0
  statement_timeout:
    description:
      - How many seconds one statement of this module may take on the server.
    type: int
    default: 5
    version_added: 1.0.0
requirements:
  - >-
    C(psycopg2) 2.8 or later on the target (package C(python3-psycopg2)). Where it is missing, C(psql) inside the container or on the target
    serves as well.
notes:
  - Every statement runs in its own read-only transaction with limits on its time and on waiting for locks. Nothing is written and no
    statistics are reset.
  - The sessions show in C(pg_stat_activity) with the application name C(stackops.runbook).
"""

    # For modules that find servers, and are told of others.
    SERVERS = r"""
options:
  postgres:
    description:
      - PostgreSQL servers outside Compose.
    type: list
    elements: dict
    default: []
    version_added: 1.0.0
    suboptions:
      login_host:
        description: Name or address of the server.
        type: str
      login_port:
        description: Port of the server.
        type: int
      login_user:
        description: User to log in as.
        type: str
      login_password:
        description: Password of that user.
        type: str
      login_db:
        description: Database to log in to.
        type: str
      dsn:
        description: Connection string or URL instead of the single options.
        type: str
      ssl_mode:
        description: How to use TLS, as for C(libpq).
        type: str
        choices: [disable, allow, prefer, require, verify-ca, verify-full]
        default: prefer
      ssl_root_cert:
        description: File on the target with certificates of authorities.
        type: path
"""
