#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_scan
short_description: Look for vulnerabilities, pending security updates and old bases of the images that stacks run
version_added: 1.0.0
description:
  - Runs the image scanner that is installed on the target - C(trivy), C(grype) or C(docker scout), in this order - over the images of Compose
    projects, and returns one form of result whichever it was. Where the target has none and the controller has one, the images are
    copied there and scanned there.
  - A scanner that could not load its database, or did not end in time, makes an image V(unknown). It never counts as an image without vulnerabilities.
  - Releases of scanners that are known to be malicious are refused, as far as possible without starting them.
  - Without any scanner it still tells of the pending security updates of images that are made from Debian, Ubuntu or Alpine, and of old bases.
    A disposable container of the image asks its own package manager. It has no capabilities and is removed at once.
author:
  - stackops.runbook contributors (@stackops)
extends_documentation_fragment:
  - stackops.runbook.attributes
  - stackops.runbook.attributes.action_group
  - stackops.runbook.docker_connection
  - stackops.runbook.project_selection
  - stackops.runbook.security_ignore
attributes:
  check_mode:
    support: full
    details:
      - It changes nothing that lasts. Disposable containers and copies of images are made in check mode as well, and removed.
  diff_mode:
    support: N/A
    details:
      - It changes nothing.
  idempotent:
    support: full
options:
  images:
    description:
      - Images to look at in place of those that the containers of Compose projects run.
    type: list
    elements: str
    default: []
  scanner:
    description:
      - Which scanner to use. V(auto) takes the first that is there, V(none) uses no scanner.
    type: str
    choices: [auto, trivy, grype, docker-scout, none]
    default: auto
  scanner_path:
    description:
      - Where the O(scanner) is, if it is not in the path. It holds for the target alone.
    type: path
  scanner_sha256:
    description:
      - The SHA-256 of the programs that may be used. Where there is one, no other is even started.
    type: list
    elements: str
    default: []
  refused_versions:
    description:
      - Versions that are refused in addition to those that this module knows.
    type: list
    elements: str
    default: []
  controller:
    description:
      - Whether to use the controller's scanner where the target has none.
      - Each image is then copied to the controller, once in a run whatever the number of hosts, and removed after the scan.
    type: bool
    default: true
  controller_max_bytes:
    description:
      - The largest image, as an archive, that is copied to the controller.
    type: int
    default: 4294967296
  timeout_seconds:
    description:
      - How long the scan of one image may take.
    type: float
    default: 300
  deadline_seconds:
    description:
      - How long everything may take. What is not done by then is V(unknown).
    type: float
    default: 1800
  minimum_severity:
    description:
      - Vulnerabilities below it are left out. What nobody rated stays.
    type: str
    choices: [critical, high, medium, low]
    default: low
  warning_severity:
    description:
      - From this severity on a vulnerability makes its image V(warning).
    type: str
    choices: [critical, high, medium, low]
    default: high
  critical_severity:
    description:
      - From this severity on a vulnerability makes its image V(critical).
    type: str
    choices: [critical, high, medium, low]
    default: critical
  only_fixed:
    description:
      - Whether only vulnerabilities for which there is a fixed version count for RV(images[].status). The others are returned all the same.
    type: bool
    default: true
  updates:
    description:
      - Whether to ask for pending updates, in a disposable container of each image.
    type: bool
    default: true
  updates_network:
    description:
      - The network of that container, V(bridge), V(host) or the name of one.
    type: str
    default: bridge
  updates_timeout_seconds:
    description:
      - How long that may take for one image.
    type: float
    default: 120
  updates_warning:
    description:
      - From this many pending security updates on an image is V(warning).
    type: int
    default: 1
  age_warning_days:
    description:
      - From this age of its base on an image is V(warning).
    type: float
    default: 180
  export:
    description:
      - Used by this action itself, to hand one image over to the controller's scanner.
    type: dict
    suboptions:
      image:
        description: The image.
        type: str
        required: true
      directory:
        description: Where to write it.
        type: path
        required: true
      max_bytes:
        description: How large it may be.
        type: int
        required: true
      timeout_seconds:
        description: How long it may take.
        type: float
        required: true
notes:
  - C(docker scout) needs a login to Docker Hub, for local images too.
  - Alpine has no archive of security updates; into a released branch go fixes alone, so each of its pending updates counts.
seealso:
  - module: stackops.runbook.container_hardening
  - ref: stackops.runbook.security_scan role <ansible_collections.stackops.runbook.security_scan_role>
    description: This module with the other checks of security, as one report.
"""

EXAMPLES = r"""
- name: Look at the images of all Compose projects of the host
  stackops.runbook.image_scan:
  become: true
  register: scan

- name: Tell what to update
  ansible.builtin.debug:
    msg: "{{ item.image }}: {{ item.counts or item.error.reason }}; {{ item.updates.security }} pending security updates"
  loop: "{{ scan.images }}"
  loop_control:
    label: "{{ item.status }}"

- name: Let only one program scan, and accept a vulnerability for some time
  stackops.runbook.image_scan:
    project_name: shop
    scanner: trivy
    scanner_sha256: [0f9a1bfc5b0a2c6b4a4b2c9f0a2e9df3c1d9d3b3f7a9a4e5d6c7b8a90f1e2d3c]
    warning_severity: medium
    ignore:
      - id: CVE-2019-1549
        package: libssl*
        object: shop/backend
        reason: the service does not fork
        expires: "2027-01-31"
  become: true

- name: Ask for pending updates of one image, without any scanner
  stackops.runbook.image_scan:
    images: ["debian:bookworm-slim"]
    scanner: none
  become: true
"""

RETURN = r"""
status:
  description: The worst status of all images, V(ok), V(warning), V(critical) or V(unknown).
  returned: always
  type: str
  sample: critical
summary:
  description: What was found, in one line.
  returned: always
  type: str
  sample: "vulnerabilities in 2 images: 1 critical, 3 high; 4 pending security updates in 2 images"
metrics:
  description: Totals. A number that nobody could find out is null.
  returned: always
  type: dict
  sample:
    vulnerabilities_critical: {value: 1, unit: ""}
    pending_security_updates: {value: 4, unit: ""}
    images_not_scanned: {value: 0, unit: ""}
errors:
  description: What could not be read, each with C(source), C(reason) and C(hint).
  returned: always
  type: list
  elements: dict
  sample: []
scanner:
  description: The scanner that was used with C(name), C(version), C(path), and C(on), V(target) or V(controller); null without one.
  returned: always
  type: dict
  sample: {name: trivy, version: 0.69.3, path: /usr/bin/trivy, "on": target}
scanner_missing:
  description: Why no scanner was used, with C(code) V(not-installed) or V(refused); null where one was, or where none was looked for.
  returned: always
  type: dict
  sample: null
ignore_expired:
  description: Entries of O(ignore) that count no more.
  returned: always
  type: list
  elements: dict
  sample: []
images:
  description: One entry for each image.
  returned: always
  type: list
  elements: dict
  contains:
    image:
      description: Its name, or its identifier where the name means another image by now.
      type: str
      returned: always
      sample: shop-backend:1.4
    id:
      description: Its identifier.
      type: str
      returned: always
      sample: sha256:005617308c7d0f0c5a4c8f9e8c1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c
    services:
      description: The services that run it.
      type: list
      elements: str
      returned: always
      sample: [shop/backend]
    source:
      description: V(built) on the host, or from a V(registry). Null where the engine has no such image any more.
      type: str
      returned: always
      sample: built
    renew:
      description: What builds it anew on a fresh base, or pulls it, and starts its services with it, as it is typed on the host. Null where no stack runs it.
      type: str
      returned: always
      sample: >-
        cd /srv/shop && docker compose -p shop build --pull --no-cache backend && docker compose -p shop up --detach backend
    status:
      description: V(ok), V(warning), V(critical) or V(unknown).
      type: str
      returned: always
      sample: critical
    statuses:
      description: What the status is made of - C(vulnerabilities), C(updates) and C(age).
      type: dict
      returned: always
      sample: {vulnerabilities: critical, updates: warning, age: ok}
    os:
      description: The distribution in it, as far as it was found out.
      type: str
      returned: always
      sample: debian 13.1
    end_of_life:
      description: Whether the scanner says that its distribution gets no fixes any more. Null where it does not tell.
      type: bool
      returned: always
      sample: false
    size_bytes:
      description: Its size.
      type: int
      returned: always
      sample: 167001234
    created_at:
      description: When it was made, or null.
      type: str
      returned: always
      sample: "2026-11-20T08:00:00Z"
    base_created_at:
      description: When its lowest layer was made, or null where nobody knows.
      type: str
      returned: always
      sample: "2026-10-01T00:00:00Z"
    age_days:
      description: The age of its base in days, else its own, or null.
      type: float
      returned: always
      sample: 56.1
    scanned:
      description: Whether a scanner looked at it with success.
      type: bool
      returned: always
      sample: true
    scanner:
      description: The scanner with C(name), C(version), C(on), and C(database_built_at); null without one.
      type: dict
      returned: always
      sample: {name: trivy, version: 0.69.3, "on": target, database_built_at: "2026-11-25T00:33:07Z"}
    error:
      description: Why it was not scanned, with C(source), C(reason) and C(hint); null where it was.
      type: dict
      returned: always
      sample: null
    counts:
      description: Vulnerabilities by severity; null where it was not scanned.
      type: dict
      returned: always
      sample: {critical: 1, high: 3, medium: 0, low: 0, unknown: 0}
    fixable:
      description: How many of them have a fixed version; null where it was not scanned.
      type: int
      returned: always
      sample: 2
    ignored:
      description: What O(ignore) covers.
      type: list
      elements: dict
      returned: always
      sample: []
    vulnerabilities:
      description: The vulnerabilities, the worst first.
      type: list
      elements: dict
      returned: always
      contains:
        id:
          description: Its identifier.
          type: str
          returned: always
          sample: CVE-2019-1549
        severity:
          description: V(critical), V(high), V(medium), V(low) or V(unknown).
          type: str
          returned: always
          sample: critical
        package:
          description: The package.
          type: str
          returned: always
          sample: libssl3
        installed:
          description: The version in the image.
          type: str
          returned: always
          sample: 3.0.11-1~deb12u1
        fixed:
          description: The version in which it is fixed; empty where there is none.
          type: str
          returned: always
          sample: 3.0.11-1~deb12u2
        image:
          description: The image.
          type: str
          returned: always
          sample: shop-backend:1.4
        layer:
          description: The layer that brought it; empty where the scanner does not tell.
          type: str
          returned: always
          sample: sha256:03901b4a2ea88eeaad62dbe59b072b28b6efa00491962b8741081c5df50c65e0
        path:
          description: Where the package is in the image, if it is no package of the distribution.
          type: str
          returned: always
          sample: ""
        title:
          description: What it is about.
          type: str
          returned: always
          sample: "openssl: information disclosure in fork()"
        url:
          description: Where to read about it.
          type: str
          returned: always
          sample: https://avd.aquasec.com/nvd/cve-2019-1549
    updates:
      description: Pending updates by the distribution's own word.
      type: dict
      returned: always
      contains:
        asked:
          description: Whether the image was asked.
          type: bool
          returned: always
          sample: true
        status:
          description: V(ok), V(warning) or V(unknown).
          type: str
          returned: always
          sample: warning
        reason:
          description: Why it is unknown, or null.
          type: str
          returned: always
          sample: null
        hint:
          description: What to do about that.
          type: str
          returned: always
          sample: ""
        security:
          description: The number of pending security updates, or null.
          type: int
          returned: always
          sample: 4
        packages:
          description: The pending updates with C(package), C(installed), C(candidate), C(security) and C(origin).
          type: list
          elements: dict
          returned: always
          sample:
            - {package: libc6, installed: 2.31-13+deb11u11, candidate: 2.31-13+deb11u14, security: true, origin: "Debian-Security:11/oldoldstable-security"}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._image_scan import export_image, image_scan_arguments, scan_images


def main() -> None:
    """Scan, or hand over one image for the controller's scanner."""
    module = AnsibleModule(argument_spec=image_scan_arguments(), supports_check_mode=True)
    export = module.params["export"]
    try:
        found = export_image(module.params, export) if export else scan_images(module.params)
    except CheckError as error:
        module.fail_json(msg=error.sentence)
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
