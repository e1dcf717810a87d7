"""A framework for pymesos that launches one group of two tasks; the second fails."""

import sys

from addict import Dict
from pymesos import MesosSchedulerDriver, Scheduler


def scalar(name, value):
    return {"name": name, "type": "SCALAR", "scalar": {"value": value}}


RESOURCES = [scalar("cpus", 0.1), scalar("mem", 32)]


class GroupScheduler(Scheduler):
    launched = False

    def resourceOffers(self, driver, offers):
        for offer in offers:
            if self.launched:
                driver.declineOffer(offer.id)
                continue
            self.launched = True
            tasks = [
                {
                    "name": name,
                    "task_id": {"value": name},
                    "agent_id": offer.agent_id,
                    "resources": RESOURCES,
                    "command": {"value": command},
                }
                for name, command in [("web", "exec sleep 1000"), ("side", "sleep 1; exit 3")]
            ]
            executor = {
                "type": "DEFAULT",
                "executor_id": {"value": "pod"},
                "framework_id": {"value": driver.framework_id},
                "resources": RESOURCES,
            }
            group = {"executor": executor, "task_group": {"tasks": tasks}}
            driver.acceptOffers(
                offer.id, [Dict(type="LAUNCH_GROUP", launch_group=group)]
            )

    def statusUpdate(self, driver, update):
        print(update.task_id.value, update.state, update.message or "", flush=True)


framework = Dict(user="root", name="group", checkpoint=True)
driver = MesosSchedulerDriver(GroupScheduler(), framework, sys.argv[1], use_addict=True)
driver.run()
