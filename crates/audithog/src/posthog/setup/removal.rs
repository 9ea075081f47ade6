//! What has to be removed.

use super::Setup;
use super::found::{Found, Inventory, insight_of, text};
use super::insights::{self, Insight};
use super::plan::{Action, Change, Plan, Step, Thing, Work, alert_name, id_text};
use crate::error::Error;
use crate::posthog::Api;

impl Api {
    /// Says what has to be removed so that nothing of `setup` is left. Changes nothing.
    ///
    /// # Errors
    ///
    /// As for [`Api::plan`].
    pub fn plan_removal(&mut self, setup: &Setup) -> Result<Plan, Error> {
        let wanted = insights::all(setup)?;
        let found = self.inventory(setup);
        let found = found.map_err(|failure| self.told(failure))?;
        Ok(removal(setup, &wanted, &found))
    }
}

fn removal(setup: &Setup, wanted: &[Insight], found: &Inventory) -> Plan {
    let mut steps = Vec::new();
    let mut remove = |thing, name: &str, id: String, work| {
        steps.push(Step {
            change: Change {
                action: Action::Remove,
                thing,
                name: name.to_owned(),
                id: Some(id),
                differs: Vec::new(),
            },
            work,
        });
    };
    // Also of older versions, which may have had others.
    let ours = |found: &&Found| {
        setup.has_marked(found)
            || wanted
                .iter()
                .any(|insight| setup.owns(found, &insight.key, &insight.name))
    };
    let insights: Vec<&Found> = found.insights.iter().filter(ours).collect();
    let names: Vec<String> = wanted
        .iter()
        .filter_map(|insight| Some(alert_name(setup, insight.alert.as_ref()?.title)))
        .collect();
    for alert in &found.alerts {
        let on_ours = insights
            .iter()
            .any(|insight| insight_of(alert) == Some(insight.id));
        let name = text(alert, "name");
        if on_ours && names.iter().any(|ours| ours == name) {
            let id = alert.get("id").map(id_text).unwrap_or_default();
            let path = format!("projects/{{project}}/alerts/{id}/");
            remove(Thing::Alert, name, id, Work::Delete(path));
        }
    }
    for insight in insights {
        let id = insight.id.to_string();
        let path = format!("projects/{{project}}/insights/{id}/");
        remove(Thing::Insight, insight.name(), id, Work::Hide(path));
    }
    if let Some(dashboard) = &found.dashboard {
        let id = dashboard.id.to_string();
        let path = format!("projects/{{project}}/dashboards/{id}/");
        remove(Thing::Dashboard, dashboard.name(), id, Work::Hide(path));
    }
    Plan {
        steps,
        dashboard: None,
    }
}
