# SPDX-License-Identifier: GPL-2.0-only
"""What holds for the `tun` driver holds for the `ebpf` driver: the same tests."""

from collections.abc import Callable
from typing import Any

import pytest

from dataplane import (
    test_icmp_relay,
    test_tun_checks,
    test_tun_cleanup,
    test_tun_handover,
    test_tun_traffic,
    test_tunnel_data,
    world,
)
from dataplane.test_tun_checks import CASES, MINIMAL_CASES
from dataplane.test_tun_traffic import ROOM
from scapy_mip.const import Encapsulation

FORMS = list(ROOM)


def variants(
    test: Callable[..., None], *arguments: tuple[Any, ...]
) -> list[tuple[Callable[..., None], tuple[Any, ...]]]:
    return [(test, one) for one in arguments or [()]]


TESTS = [
    *variants(
        test_tun_traffic.test_all_sizes_both_ways,
        *(("auto", form, reverse) for form in FORMS for reverse in (True, False)),
    ),
    *variants(
        test_tun_traffic.test_dont_fragment_draws_the_icmp_answer,
        *(("auto", form) for form in FORMS),
    ),
    *variants(
        test_tun_traffic.test_fragmented_outer_packets_are_reassembled,
        *((form,) for form in FORMS),
    ),
    *variants(
        test_tun_traffic.test_home_agent_answers_inside_the_tunnel,
        *((form,) for form in FORMS),
    ),
    *variants(test_tun_traffic.test_two_nodes_reach_each_other_through_the_home_agent),
    *variants(test_tun_traffic.test_what_is_bound_elsewhere_stays_as_it_was),
    *variants(test_tun_traffic.test_outer_packets_leave_by_the_named_interface),
    *variants(test_tun_traffic.test_stale_home_link_does_not_catch_packets_home),
    *variants(test_tun_traffic.test_receive_only_takes_packets_but_sends_none),
    *variants(test_tun_traffic.test_simultaneous_bindings_get_a_copy_each),
    *variants(test_tun_traffic.test_each_copy_has_the_form_that_was_asked_for),
    *variants(test_tun_traffic.test_hops_within_a_minimal_tunnel_count),
    *variants(test_tun_traffic.test_options_stay_in_the_header_of_a_minimal_tunnel),
    *variants(
        test_tun_checks.test_reverse_tunnel_check,
        (Encapsulation.IPIP, CASES),
        (Encapsulation.MINIMAL, MINIMAL_CASES),
    ),
    *variants(test_tun_checks.test_reverse_tunnel_that_was_not_asked_for),
    *variants(test_tun_checks.test_mobile_node_listens_to_its_home_agent_alone),
    *variants(test_tun_checks.test_mobile_node_with_a_minimal_tunnel),
    *variants(test_tun_checks.test_nests_come_from_the_home_agent_and_are_for_many),
    *variants(test_tun_checks.test_source_at_the_tunnels_exit_is_not_tunnelled),
    *variants(test_tun_checks.test_encapsulations_of_one_binding),
    *variants(test_tun_handover.test_counters_survive_a_handover),
    *variants(
        test_tun_handover.test_a_gateway_that_only_the_configuration_knows_is_used
    ),
    *variants(
        test_tun_handover.test_unanswered_neighbours_do_not_delay_the_return_home
    ),
    *variants(test_tun_handover.test_failed_install_changes_nothing),
    *variants(
        test_tunnel_data.test_a_tunnel_through_a_nat,
        *((form,) for form in world.FORMS.values() if form.ports),
    ),
    *variants(test_tunnel_data.test_control_messages_and_data_part_ways),
    *variants(test_tunnel_data.test_a_socket_for_data_is_there_while_a_tunnel_needs_it),
    *variants(test_tunnel_data.test_the_data_port_moves_with_the_tunnel),
    *variants(test_tunnel_data.test_two_bindings_behind_one_nat),
    *variants(
        test_tunnel_data.test_what_differs_from_the_registration_is_counted_by_name
    ),
    *variants(test_tunnel_data.test_checksums_over_what_is_tunnelled_are_verified),
    *variants(test_tunnel_data.test_port_unreachable_goes_no_further),
    *variants(
        test_icmp_relay.test_too_big_reaches_the_sender_at_once,
        *((form, None) for form in world.FORMS.values()),
    ),
    *variants(
        test_icmp_relay.test_unreachable_ends_of_tunnels_are_reported,
        *((form, None) for form in world.FORMS.values()),
    ),
    *variants(
        test_icmp_relay.test_hops_that_run_out_within_a_tunnel_are_an_unreachable_host
    ),
    *variants(test_icmp_relay.test_what_concerns_the_tunnel_alone_stays_there),
    *variants(test_tun_cleanup.test_successor_can_go_on),
    *variants(test_tun_cleanup.test_state_file_of_another_namespace_is_ignored),
    *variants(test_tun_cleanup.test_someone_elses_setting_stays),
    *variants(test_tun_cleanup.test_only_one_home_agent_in_a_namespace),
    *variants(test_tun_cleanup.test_two_roles_in_a_namespace_do_not_disturb_each_other),
    *variants(test_tun_cleanup.test_home_agent_without_its_address_says_so),
    *variants(test_tun_cleanup.test_closed_agent_announces_nothing),
]


def name(value: object) -> str:
    """Show forms and ways of a variant, not whole tables."""
    if callable(value):
        return str(getattr(value, "__name__", "")).removeprefix("test_")
    parts = value if isinstance(value, tuple) else ()
    return "-".join(str(part) for part in parts if not isinstance(part, dict))


@pytest.mark.parametrize(("test", "arguments"), TESTS, ids=name)
def test_like_tun(
    monkeypatch: pytest.MonkeyPatch,
    test: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    monkeypatch.setattr(world, "DRIVER", "ebpf")
    test(*arguments)
