# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What every module of the collection can and cannot do.

    The first fragment only says what is meant; whether a module supports it is said by the module or by ``READ_ONLY``.
    """

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying the target.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
  platform:
    description: Target operating systems and families that can be operated against.
    support: full
    platforms: linux
"""

    # For modules that only read; together with the fragment above.
    READ_ONLY = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This action only reads and does not change anything.
  diff_mode:
    support: N/A
    details:
      - This action does not change anything.
  idempotent:
    support: full
    details:
      - This action does not change anything. What it returns depends on the state of the target.
notes:
  - Where the engine cannot be reached, the module does not fail. The result's RV(ignore:status) is then V(unknown), and
    RV(ignore:errors) says what was tried and what to do.
"""

    ACTION_GROUP = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/stackops.runbook.stack) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - stackops.runbook.stack
"""

    # For modules that keep how far they have read; together with the first fragment.
    STATE_FILE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - In check mode O(state_file) is read, but not written.
  diff_mode:
    support: N/A
    details:
      - This action does not change anything but its own O(state_file).
  idempotent:
    support: full
    details:
      - What it returns depends on the state of the target. With O(state_file), what was read once is not counted again.
"""
