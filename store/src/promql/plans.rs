//! Plans of expressions that are asked again and again, as rules are: parsed once. Bounded; what was not asked for longest goes first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use model::query::QueryError;

use super::parse;
use super::plan::Plan;

/// Plans in a generation.
const MOST: usize = 16_384;
/// Longer expressions are parsed each time.
const LONGEST: usize = 4_096;

#[derive(Default)]
struct Generations {
    young: HashMap<String, Arc<Plan>>,
    old: HashMap<String, Arc<Plan>>,
}

/// The plans.
#[derive(Default)]
pub struct Plans(Mutex<Generations>);

impl Plans {
    /// The plan of an expression. Fails as [`parse::parse`] does.
    pub fn of(&self, expr: &str) -> Result<Arc<Plan>, QueryError> {
        if expr.len() > LONGEST {
            return parse::parse(expr).map(Arc::new);
        }
        if let Some(plan) = self.known(expr) {
            return Ok(plan);
        }
        let plan = Arc::new(parse::parse(expr)?);
        self.keep(expr, &plan);
        Ok(plan)
    }

    fn known(&self, expr: &str) -> Option<Arc<Plan>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = all.young.get(expr) {
            return Some(Arc::clone(plan));
        }
        let (expr, plan) = all.old.remove_entry(expr)?;
        all.young.insert(expr, Arc::clone(&plan));
        Some(plan)
    }

    fn keep(&self, expr: &str, plan: &Arc<Plan>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.young.len() >= MOST {
            all.old = std::mem::take(&mut all.young);
        }
        all.young.insert(expr.to_owned(), Arc::clone(plan));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_parsed_once_and_mistakes_each_time() {
        let plans = Plans::default();
        let first = plans.of("sum(x)").unwrap();
        assert!(Arc::ptr_eq(&first, &plans.of("sum(x)").unwrap()));
        assert!(plans.of("sum(").is_err() && plans.of("sum(").is_err());
        for number in 0..2 * MOST {
            plans.of(&format!("x{number}")).unwrap();
            if number % 1_000 == 0 {
                plans.of("sum(x)").unwrap();
            }
        }
        assert!(Arc::ptr_eq(&first, &plans.of("sum(x)").unwrap()), "what is asked for stays");
        let all = plans.0.lock().unwrap();
        assert!(all.young.len() + all.old.len() <= 2 * MOST);
    }
}
