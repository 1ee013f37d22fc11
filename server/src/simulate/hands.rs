//! Hands that do nothing: each act comes to what the script says.

use async_trait::async_trait;
use remediation::perform::{Hands, Order, Outcome, Performed, describe};

/// What acts come to: the first entry whose text stands in the description of the act; else it goes well.
pub type Script = Vec<(String, Outcome)>;

/// Carries out nothing.
pub struct ScriptedHands(Script);

impl ScriptedHands {
    /// With a script.
    pub fn new(script: Script) -> Self {
        ScriptedHands(script)
    }
}

#[async_trait]
impl Hands for ScriptedHands {
    async fn perform(&self, order: Order<'_>) -> Performed {
        let text = match describe(order.action, order.facts) {
            Ok(text) => text,
            Err(error) => return Performed::not_sent(error.to_string()),
        };
        let outcome = self.0.iter().find(|(part, _)| text.contains(part.as_str())).map_or(Outcome::Done, |(_, outcome)| *outcome);
        Performed { outcome, text }
    }
}
