# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Where backup sets are and how to log in; the matching argument spec is in ``module_utils/_backup_arguments.py``."""

    DOCUMENTATION = r"""
options:
  login_user:
    description:
      - User of PostgreSQL to log in as, a superuser or the owner of the databases. By default found in the container's environment.
    type: str
    version_added: 1.0.0
  login_password:
    description:
      - Password of O(login_user). By default found in the container's environment or in the secret file that this names.
    type: str
    version_added: 1.0.0
  login_db:
    description:
      - Database to log in to. The default is the one that the container was created with, else the one named like the user.
    type: str
    version_added: 1.0.0
  root:
    description:
      - Directory on the target that holds the sets of all projects. It belongs to root and nobody else may read it.
    type: path
    default: /var/backups/stackops
    version_added: 1.0.0
  identity_file:
    description:
      - File on the target with the private key (an identity of C(age), or an exported key of C(gpg)) for sets that are encrypted.
      - A backup needs no private key. Restoring, and verifying what is inside of an encrypted set, does.
    type: path
    version_added: 1.0.0
  offsite:
    description:
      - A place off the host, reached with C(rclone) or C(restic) as the distribution has them. Every finished set is sent there and compared there.
    type: dict
    version_added: 1.0.0
    suboptions:
      kind:
        description: The program.
        type: str
        choices: [rclone, restic]
        required: true
      remote:
        description:
          - For C(rclone) a remote and a directory of its configuration, for example V(store:backups/web1). For C(restic) the repository, for example
            V(sftp:backup@store.example.com:/srv/restic).
          - Do not write a password into it.
        type: str
        required: true
      config_file:
        description: Configuration file of C(rclone) on the target, or a file with lines C(NAME=value) for the environment of C(restic).
        type: path
      password_file:
        description: File on the target with the password of the repository of C(restic).
        type: path
      options:
        description: More arguments for the program. Secrets belong into O(offsite.config_file).
        type: list
        elements: str
        default: []
      retention:
        description:
          - Whether a backup also removes the copies there that have expired, by the same rules as on the host. Only copies of this project go, and only
            after the new set has arrived.
          - Switch it off where the place allows no removal, or expires copies by itself.
        type: bool
        default: true
  progress_file:
    description:
      - A file on the target in which the module says how far it is. The action plugin sets it and shows what it says, so there is no need to.
    type: path
    version_added: 1.0.0
"""
