# SPDX-License-Identifier: GPL-2.0-only
"""The garbage collector while an agent works."""

import gc

from mip_agents.runtime.collector import patient_collector


def test_a_collector_that_was_patient_is_as_before_also_after_an_error():
    before = gc.get_threshold()
    try:
        with patient_collector():
            assert gc.get_threshold()[0] > before[0]
            assert gc.get_threshold()[1:] == before[1:]
            assert gc.get_freeze_count()
            raise ValueError
    except ValueError:
        pass
    finally:
        gc.unfreeze()
    assert gc.get_threshold() == before
