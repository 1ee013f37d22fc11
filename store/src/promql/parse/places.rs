//! Where the parts of a parsed expression stand in its text: the crate's tree has no places, so it is walked beside ours. Pure.

use std::collections::HashMap;

use promql_parser::parser::Expr;

use super::grammar::{Part, Tree};
use crate::promql::plan::Place;

/// The places of a tree's parts, by their address.
#[derive(Debug, Default)]
pub struct Places(HashMap<*const Expr, Place>);

impl Places {
    /// Of an expression and what was read of its text; parts that do not look alike have no places.
    pub fn new(text: &str, expr: &Expr, tree: &Tree) -> Self {
        let mut places = Places::default();
        let lines: Vec<usize> = std::iter::once(0).chain(text.match_indices('\n').map(|(end, _)| end + 1)).collect();
        let place = |at: usize| {
            let line = lines.partition_point(|start| *start <= at);
            Place { line, column: at + 1 - lines[line - 1] }
        };
        places.walk(&place, expr, tree);
        places
    }

    /// Where a part begins.
    pub fn of(&self, expr: &Expr) -> Place {
        self.0.get(&std::ptr::from_ref(expr)).copied().unwrap_or_default()
    }

    fn walk(&mut self, place: &dyn Fn(usize) -> Place, expr: &Expr, tree: &Tree) {
        // The crate has no node for a plus sign.
        if let (Part::Unary { plus: true }, [inner]) = (&tree.part, tree.children.as_slice()) {
            self.walk(place, expr, inner);
            self.0.insert(std::ptr::from_ref(expr), place(tree.start));
            return;
        }
        let children: Vec<&Expr> = match (expr, &tree.part) {
            (Expr::Paren(of), Part::Paren) => vec![&of.expr],
            (Expr::Unary(of), Part::Unary { plus: false }) => vec![&of.expr],
            (Expr::Binary(of), Part::Binary(_)) => vec![&of.lhs, &of.rhs],
            (Expr::Aggregate(of), Part::Aggregate { .. }) => of.param.iter().chain([&of.expr]).map(|one| &**one).collect(),
            (Expr::Subquery(of), Part::Subquery) => vec![&of.expr],
            (Expr::Call(of), Part::Call { .. }) => of.args.args.iter().map(|one| &**one).collect(),
            (Expr::NumberLiteral(_), Part::Number) | (Expr::StringLiteral(_), Part::Text) => Vec::new(),
            (Expr::VectorSelector(_), Part::Selector(_)) | (Expr::MatrixSelector(_), Part::Matrix) => Vec::new(),
            _ => return,
        };
        self.0.insert(std::ptr::from_ref(expr), place(tree.start));
        for (expr, tree) in children.into_iter().zip(&tree.children) {
            self.walk(place, expr, tree);
        }
    }
}

/// Line and column of a byte, as Prometheus counts them: from 1, columns in bytes.
pub fn place(text: &str, at: usize) -> Place {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.len() - before.rfind('\n').map_or(0, |end| end + 1) + 1;
    Place { line, column }
}
