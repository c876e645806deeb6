#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_health
short_description: Tell whether the containers of Compose projects are well, and if not, why
version_added: 1.0.0
description:
  - Looks at every container of the Compose projects of a host, running or not, and classifies the cause of what is wrong, with
    the evidence for it.
  - Projects are found by the labels that Compose v1, Compose v2 and podman-compose leave on containers. Where the Compose file
    can be read, it is compared with them, so that services without a container and containers without a service show.
  - It only reads. Nothing is started, stopped or restarted.
author:
  - stackops.runbook contributors (@stackops)
extends_documentation_fragment:
  - stackops.runbook.attributes
  - stackops.runbook.attributes.read_only
  - stackops.runbook.attributes.action_group
  - stackops.runbook.docker_connection
  - stackops.runbook.project_selection
options:
  log_tail:
    description:
      - How many lines of the log to return of each container that is not well. V(0) reads no logs, which makes causes less certain.
    type: int
    default: 20
  stats:
    description:
      - Whether to measure the processor time and the memory that containers use. It takes half a second.
    type: bool
    default: true
  wait:
    description:
      - Wait until all containers are well, O(wait_timeout) seconds at most.
      - A container whose health check has not passed yet, that is unhealthy or is being restarted has until then to become well.
        Compose's own C(--wait) gives up on the first V(unhealthy).
      - Waiting ends at once where it makes no sense any more, because a container ended or could not be started.
    type: bool
    default: false
  wait_timeout:
    description:
      - How many seconds to wait at most, with O(wait=true).
    type: int
    default: 60
  memory_percent_warning:
    description:
      - From this share of its own memory limit on, a container's status is V(warning).
    type: float
    default: 80
  memory_percent_critical:
    description:
      - From this share of its own memory limit on, a container's status is V(critical).
    type: float
    default: 95
  restart_count:
    description:
      - A container that its restart policy has started again this often, and that has run for less than O(restart_window)
        seconds since, is in a restart loop.
    type: int
    default: 3
  restart_window:
    description:
      - The number of seconds that O(restart_count) looks back.
    type: int
    default: 600
  config_timeout:
    description:
      - How many seconds C(docker compose config) may take for one project.
    type: int
    default: 20
seealso:
  - module: stackops.runbook.stack_facts
  - module: stackops.runbook.http_probe
"""

EXAMPLES = r"""
- name: Look at all Compose projects of the host
  stackops.runbook.compose_health:
  become: true
  register: health

- name: Say what is wrong
  ansible.builtin.debug:
    msg: "{{ item.service }}: {{ item.cause.summary }}"
  loop: "{{ health.containers | selectattr('cause') }}"
  loop_control:
    label: "{{ item.name }}"

- name: Wait until the project that was just deployed is well
  stackops.runbook.compose_health:
    project_src: /srv/shop
    wait: true
    wait_timeout: 120
  become: true
  register: deployed
  failed_when: deployed.status == 'critical'

- name: Look at the database alone, with more of its log
  stackops.runbook.compose_health:
    project_name: shop
    services: [postgres]
    log_tail: 100
    stats: false
  become: true
"""

RETURN = r"""
status:
  description:
    - The worst status of all services, V(ok), V(warning), V(critical) or V(unknown).
    - A container whose health check has not passed yet is V(unknown), and so is a host whose engine cannot be reached.
  returned: always
  type: str
  sample: critical
summary:
  description: What is wrong, in one line.
  returned: always
  type: str
  sample: "1 project, 2 containers; shop/backend: killed for memory (its limit is 64 MiB); restarted 4 times"
metrics:
  description: Numbers with their unit.
  returned: always
  type: dict
  sample:
    containers: {value: 2, unit: ""}
    containers_not_ok: {value: 1, unit: ""}
    services_missing: {value: 0, unit: ""}
    restarts: {value: 4, unit: ""}
errors:
  description: What could not be read, with the reason and what to do about it.
  returned: always
  type: list
  elements: dict
  contains:
    source:
      description: What was read.
      type: str
      returned: always
      sample: unix:///var/run/docker.sock
    reason:
      description: What came back.
      type: str
      returned: always
      sample: permission denied
    hint:
      description: What to do about it. It may be empty.
      type: str
      returned: always
      sample: "Run with become: true. (Members of the docker group may use it as well, but that group means root.)"
waited_seconds:
  description: How long it waited for the containers to become well.
  returned: when O(wait=true)
  type: float
  sample: 12.5
projects:
  description: One entry for each Compose project.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The project's name.
      type: str
      returned: always
      sample: shop
    flavour:
      description: What made its containers, V(compose-v1), V(compose-v2) or V(podman-compose).
      type: str
      returned: always
      sample: compose-v2
    working_dir:
      description: Its directory, where its containers tell.
      type: str
      returned: always
      sample: /srv/shop
    config_files:
      description: Its Compose files.
      type: list
      elements: str
      returned: always
      sample: [/srv/shop/docker-compose.yml]
    config_readable:
      description: Whether C(docker compose config) gave what they declare.
      type: bool
      returned: always
      sample: true
    config_error:
      description: Why it did not.
      type: str
      returned: always
      sample: null
    env_file:
      description: The C(.env) file that the project's variables come from.
      type: str
      returned: always
      sample: /srv/shop/.env
    unset_variables:
      description: Variables that the Compose file uses without a default and that are set nowhere, so that they are empty.
      type: list
      elements: str
      returned: always
      sample: []
    env_newer_than_containers:
      description: Services whose containers have other values than the Compose file and C(.env) give now, so that a change was not applied.
      type: list
      elements: str
      returned: always
      sample: []
    services:
      description: One entry for each service that is declared or has a container.
      returned: always
      type: list
      elements: dict
      contains:
        name:
          description: The service's name.
          type: str
          returned: always
          sample: backend
        role:
          description:
            - What it is for, V(postgres), V(application), V(proxy), V(cache) or V(other).
            - Judged by image, command, environment and ports; never by the name.
          type: str
          returned: always
          sample: application
        image:
          description: The image as declared.
          type: str
          returned: always
          sample: shop/backend:1.4
        status:
          description: The worst status of its containers, against what is expected.
          type: str
          returned: always
          sample: critical
        expected_replicas:
          description: How many containers it should have. Null where the Compose file could not be read.
          type: int
          returned: always
          sample: 1
        running_replicas:
          description: How many run.
          type: int
          returned: always
          sample: 0
        missing:
          description: Whether it is declared and enabled, but has no container.
          type: bool
          returned: always
          sample: false
        orphan:
          description: Whether it has containers, but is not declared (any more).
          type: bool
          returned: always
          sample: false
        one_shot:
          description: Whether it is a job that is meant to end, such as a migration.
          type: bool
          returned: always
          sample: false
        changed_variables:
          description: Environment variables whose value is another now than in the service's containers.
          type: list
          elements: str
          returned: always
          sample: []
        has_healthcheck:
          description: Whether a health check is declared, in the Compose file or in the image.
          type: bool
          returned: always
          sample: true
        depends_on:
          description: The services it waits for, and for what.
          type: list
          elements: dict
          returned: always
          sample:
            - {service: postgres, condition: service_healthy}
containers:
  description: One entry for each container, one-off containers (C(docker compose run)) included.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: The first 12 digits of its identifier.
      type: str
      returned: always
      sample: 3fb80bcee0dc
    name:
      description: Its name.
      type: str
      returned: always
      sample: shop-backend-1
    project:
      description: Its project.
      type: str
      returned: always
      sample: shop
    service:
      description: Its service.
      type: str
      returned: always
      sample: backend
    role:
      description: What the service is for.
      type: str
      returned: always
      sample: application
    replica:
      description: Its number within the service.
      type: int
      returned: always
      sample: 1
    oneoff:
      description: Whether C(docker compose run) made it. Such a container never counts as not well.
      type: bool
      returned: always
      sample: false
    state:
      description: What the engine says, V(created), V(running), V(restarting), V(paused), V(exited), V(dead) or V(removing).
      type: str
      returned: always
      sample: restarting
    status:
      description: The verdict on it.
      type: str
      returned: always
      sample: critical
    exit_code:
      description: How its main process ended. Null while it runs, and where it was never started.
      type: int
      returned: always
      sample: 137
    state_error:
      description: The engine's own words for why it could not be started.
      type: str
      returned: always
      sample: null
    oom_killed:
      description: Whether anything shows that one of its processes was killed for memory. Null where that cannot be known.
      type: bool
      returned: always
      sample: true
    restart_count:
      description: How often its restart policy started it again.
      type: int
      returned: always
      sample: 4
    restart_policy:
      description: Its restart policy.
      type: str
      returned: always
      sample: unless-stopped
    created_at:
      description: When it was made.
      type: str
      returned: always
      sample: "2026-11-23T10:00:00Z"
    started_at:
      description: When it was started last.
      type: str
      returned: always
      sample: "2026-11-23T10:20:00Z"
    finished_at:
      description: When it ended last.
      type: str
      returned: always
      sample: "2026-11-23T10:20:05Z"
    uptime_seconds:
      description: For how long it has been running.
      type: float
      returned: always
      sample: null
    pid:
      description: Its main process on the engine's host.
      type: int
      returned: always
      sample: null
    command:
      description: What it runs.
      type: list
      elements: str
      returned: always
      sample: [uvicorn, "app.main:app"]
    config_hash:
      description: Compose's hash of the service's declaration at the time.
      type: str
      returned: always
      sample: 48408bf5a5dc62248c1e61365de12d68f31044677723c549b486d6512a8875ba
    log_driver:
      description: Its logging driver.
      type: str
      returned: always
      sample: json-file
    health:
      description: Its health check.
      returned: always
      type: dict
      contains:
        status:
          description: V(none), V(starting), V(healthy) or V(unhealthy).
          type: str
          returned: always
          sample: unhealthy
        stale:
          description: Whether the last probe ran before the container was started, so that it says nothing about now.
          type: bool
          returned: always
          sample: false
        failing_streak:
          description: How many probes in a row failed.
          type: int
          returned: always
          sample: 3
        test:
          description: The probe as declared.
          type: list
          elements: str
          returned: always
          sample: [CMD, curl, -f, "http://localhost:8000/health"]
        interval_seconds:
          description: The time between two probes.
          type: float
          returned: always
          sample: 30
        timeout_seconds:
          description: How long a probe may take.
          type: float
          returned: always
          sample: 30
        retries:
          description: How many probes in a row must fail.
          type: int
          returned: always
          sample: 3
        start_period_seconds:
          description: For how long after its start failing probes do not count.
          type: float
          returned: always
          sample: 0
        last_exit_code:
          description: How the last probe ended. V(-1) means that it took too long or could not be started.
          type: int
          returned: always
          sample: 22
        last_output:
          description: What the last probe printed.
          type: str
          returned: always
          sample: "curl: (22) The requested URL returned error: 500"
        last_probe_at:
          description: When it ended.
          type: str
          returned: always
          sample: "2026-11-23T10:20:30Z"
        failure:
          description:
            - Why it failed, V(connection-refused), V(http-status), V(timeout), V(probe-missing), V(name-not-resolved) or V(command-failed).
          type: str
          returned: always
          sample: http-status
        http_status:
          description: The HTTP status that the probe got, where its output tells.
          type: int
          returned: always
          sample: 500
        url:
          description: The URL that it asks.
          type: str
          returned: always
          sample: http://localhost:8000/health
    limits:
      description: Its own limits. Null is unlimited.
      returned: always
      type: dict
      contains:
        memory_bytes:
          description: Memory.
          type: int
          returned: always
          sample: 67108864
        cpus:
          description: Processors.
          type: float
          returned: always
          sample: null
        pids:
          description: Processes and threads.
          type: int
          returned: always
          sample: null
    stats:
      description: What it uses.
      returned: always
      type: dict
      contains:
        available:
          description: Whether the engine gave numbers. It does for running containers, with O(stats=true).
          type: bool
          returned: always
          sample: true
        cpu_percent:
          description: Processor time, in percent of one processor.
          type: float
          returned: always
          sample: 12.5
        throttled_percent:
          description: In how many percent of the scheduler's periods the container had used up its limit and had to wait; null without a limit.
          type: float
          returned: always
          sample: 0.0
        memory_bytes:
          description: Memory, without cache that can be given back at once.
          type: int
          returned: always
          sample: 58720256
        memory_lowest_bytes:
          description: The lower of two samples of it, which says more about what the container keeps.
          type: int
          returned: always
          sample: 57671680
        memory_percent:
          description: Its memory in percent of its own limit. Null where it has none.
          type: float
          returned: always
          sample: 87.5
        pids:
          description: Processes and threads.
          type: int
          returned: always
          sample: 6
    ports:
      description: Its ports.
      returned: always
      type: list
      elements: dict
      contains:
        container_port:
          description: The port inside.
          type: int
          returned: always
          sample: 8000
        protocol:
          description: V(tcp) or V(udp).
          type: str
          returned: always
          sample: tcp
        host_ip:
          description: The host's address it is published on.
          type: str
          returned: always
          sample: 0.0.0.0
        host_port:
          description: The host's port. Null where it is exposed, but not published.
          type: int
          returned: always
          sample: 8000
    networks:
      description: Its networks.
      returned: always
      type: list
      elements: dict
      contains:
        name:
          description: The network's name.
          type: str
          returned: always
          sample: shop_default
        ip_address:
          description: The container's address in it.
          type: str
          returned: always
          sample: 172.19.0.3
        aliases:
          description: The names it is known by in it.
          type: list
          elements: str
          returned: always
          sample: [backend]
    mounts:
      description: Its bind mounts, volumes and tmpfs mounts.
      returned: always
      type: list
      elements: dict
      contains:
        type:
          description: V(bind), V(volume) or V(tmpfs).
          type: str
          returned: always
          sample: bind
        source:
          description: The path on the host.
          type: str
          returned: always
          sample: /srv/shop/logs
        destination:
          description: The path inside.
          type: str
          returned: always
          sample: /app/logs
        read_only:
          description: Whether it cannot be written to.
          type: bool
          returned: always
          sample: false
    image:
      description: Its image.
      returned: always
      type: dict
      contains:
        reference:
          description: The name it was made from.
          type: str
          returned: always
          sample: shop/backend:1.4
        id:
          description: The image it was made from.
          type: str
          returned: always
          sample: sha256:27af73d5602276378a71928170ff15062eab49180e66941b8efac02b3a84adf0
        local_tag_id:
          description: The image that this name has on the host now.
          type: str
          returned: always
          sample: sha256:27af73d5602276378a71928170ff15062eab49180e66941b8efac02b3a84adf0
        tag_moved:
          description: Whether these differ, so that a new image waits for the container to be made anew.
          type: bool
          returned: always
          sample: false
    depends_on:
      description: The services that its service waits for.
      type: list
      elements: dict
      returned: always
      sample:
        - {service: postgres, condition: service_healthy}
    database_urls:
      description: The PostgreSQL addresses in its environment, without passwords.
      type: list
      elements: dict
      returned: always
      sample:
        - {variable: DATABASE_URL, scheme: postgresql, host: postgres, port: 5432, database: shop, user: app}
    last_log_lines:
      description: The end of its log, where it is not well. Secrets are replaced.
      type: list
      elements: str
      returned: always
      sample: ["MemoryError"]
    cause:
      description: What is wrong with it. Null where nothing is.
      returned: always
      type: dict
      contains:
        code:
          description:
            - V(oom-container), V(oom-host), V(killed), V(segfault), V(command-not-found), V(not-executable), V(application-error),
              V(startup-failure), V(restart-loop), V(unhealthy), V(dependency-failed), V(port-already-allocated), V(mount-failed),
              V(image-missing), V(created-never-started), V(paused), V(starting), V(terminated) or V(dead).
          type: str
          returned: always
          sample: oom-container
        confidence:
          description: How sure that is, V(high), V(medium) or V(low).
          type: str
          returned: always
          sample: high
        summary:
          description: The same in a sentence.
          type: str
          returned: always
          sample: killed for memory (its limit is 64 MiB); restarted 4 times
        error:
          description:
            - The application's or the engine's error behind it, with C(kind), C(exception), C(message) and C(parameters)
              (the module, host, port, user, database and so on that the message names). Null where there is none.
          type: dict
          returned: always
          sample: null
        evidence:
          description: What shows it, with C(source) (V(inspect), V(log), V(kernel), V(probe) or V(label)) and C(text).
          type: list
          elements: dict
          returned: always
          sample:
            - {source: inspect, text: "State.OOMKilled: true"}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._arguments import docker_connection_arguments, project_selection_arguments
from ansible_collections.stackops.runbook.plugins.module_utils._compose_health import check_compose


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **project_selection_arguments(),
            "log_tail": {"type": "int", "default": 20},
            "stats": {"type": "bool", "default": True},
            "wait": {"type": "bool", "default": False},
            "wait_timeout": {"type": "int", "default": 60},
            "memory_percent_warning": {"type": "float", "default": 80},
            "memory_percent_critical": {"type": "float", "default": 95},
            "restart_count": {"type": "int", "default": 3},
            "restart_window": {"type": "int", "default": 600},
            "config_timeout": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **check_compose(module.params))


if __name__ == "__main__":
    main()
