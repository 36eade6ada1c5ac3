//! Decision diagrams: functions of a few variables, each kept once, so that equal functions have
//! equal numbers.
//!
//! A node asks one variable and has a child for each of its options; a leaf holds the value. On every
//! way down the variables come in their order. Two diagrams are combined leaf by leaf, and what was
//! combined once is remembered.

use std::{collections::HashMap, rc::Rc};

use foldhash::fast::FixedState;

/// A diagram, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ref(u32);

/// Which option each variable has, if it has one.
pub(crate) type Assignment = Vec<Option<usize>>;

/// All diagrams of one analysis.
#[derive(Debug, Default)]
pub(crate) struct Diagrams {
    nodes: Vec<Node>,
    known: HashMap<Node, Ref, FixedState>,
    /// How many children all nodes have.
    size: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Node {
    Leaf(u32),
    Branch { variable: u32, children: Rc<[Ref]> },
}

/// Which of two functions is the result already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    First,
    Second,
}

/// How two functions are combined.
struct Operation<'a> {
    combine: &'a dyn Fn(u32, u32) -> u32,
    shortcut: &'a dyn Fn(Option<u32>, Option<u32>) -> Option<Side>,
}

/// The diagrams grew beyond [`MAX_SIZE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl Diagrams {
    /// The function that is `value` everywhere.
    pub(crate) fn leaf(&mut self, value: u32) -> Ref {
        self.keep(Node::Leaf(value))
    }

    /// Chooses by a variable that comes before those of all children.
    pub(crate) fn branch(&mut self, variable: usize, children: Vec<Ref>) -> Ref {
        match children.split_first() {
            Some((first, rest)) if rest.iter().any(|child| child != first) => {
                let variable = u32::try_from(variable).unwrap_or(u32::MAX);
                self.keep(Node::Branch { variable, children: children.into() })
            }
            Some((first, _)) => *first,
            None => self.leaf(0),
        }
    }

    /// What is left once a variable that comes before all others has this option.
    pub(crate) fn restrict_first(&self, of: Ref, first: usize, option: usize) -> Ref {
        match self.node(of) {
            Some(Node::Branch { variable, children }) if *variable as usize == first => {
                children.get(option).copied().unwrap_or(of)
            }
            _ => of,
        }
    }

    /// Combines two functions value by value.
    pub(crate) fn combine(
        &mut self,
        a: Ref,
        b: Ref,
        combine: &dyn Fn(u32, u32) -> u32,
    ) -> Result<Ref, TooLarge> {
        self.combine_with(a, b, combine, &|_, _| None)
    }

    /// The same, where some values settle the result alone: `shortcut` is told the value of each side
    /// that is constant.
    pub(crate) fn combine_with(
        &mut self,
        a: Ref,
        b: Ref,
        combine: &dyn Fn(u32, u32) -> u32,
        shortcut: &dyn Fn(Option<u32>, Option<u32>) -> Option<Side>,
    ) -> Result<Ref, TooLarge> {
        let mut known = HashMap::default();
        self.combine_at(a, b, &Operation { combine, shortcut }, &mut known)
    }

    /// Takes the second function where the first is not 0, by `combine`; 0 elsewhere.
    pub(crate) fn combine_where(
        &mut self,
        a: Ref,
        b: Ref,
        combine: &dyn Fn(u32, u32) -> u32,
    ) -> Result<Ref, TooLarge> {
        let combine = |a, b| if a == 0 { 0 } else { combine(a, b) };
        self.combine_with(a, b, &combine, &|a, _| (a == Some(0)).then_some(Side::First))
    }

    /// Every value that the function takes, with one way to it.
    pub(crate) fn values(&self, of: Ref, variables: usize) -> Vec<(u32, Assignment)> {
        let mut found = Vec::new();
        let mut seen = std::collections::HashSet::with_hasher(FixedState::default());
        self.collect(of, &mut vec![None; variables], &mut seen, &mut found);
        found
    }

    fn collect(
        &self,
        at: Ref,
        way: &mut Assignment,
        seen: &mut std::collections::HashSet<Ref, FixedState>,
        found: &mut Vec<(u32, Assignment)>,
    ) {
        if !seen.insert(at) {
            return;
        }
        match self.node(at) {
            Some(Node::Leaf(value)) => found.push((*value, way.clone())),
            Some(Node::Branch { variable, children }) => {
                for (option, child) in children.iter().enumerate() {
                    set(way, *variable, Some(option));
                    self.collect(*child, way, seen, found);
                }
                set(way, *variable, None);
            }
            None => {}
        }
    }

    fn combine_at(
        &mut self,
        a: Ref,
        b: Ref,
        operation: &Operation<'_>,
        known: &mut HashMap<(Ref, Ref), Ref, FixedState>,
    ) -> Result<Ref, TooLarge> {
        let (Some(first), Some(second)) = (self.node(a).cloned(), self.node(b).cloned()) else {
            return Ok(self.leaf(0));
        };
        match (operation.shortcut)(first.value(), second.value()) {
            Some(Side::First) => return Ok(a),
            Some(Side::Second) => return Ok(b),
            None => {}
        }
        if let Some(&known) = known.get(&(a, b)) {
            return Ok(known);
        }
        let combined = match (first.variable(), second.variable()) {
            (None, None) => {
                let values = (first.value().unwrap_or(0), second.value().unwrap_or(0));
                self.leaf((operation.combine)(values.0, values.1))
            }
            // The variable that comes first is asked first; a side that does not ask it stays whole.
            (x, y) => {
                let variable = x.into_iter().chain(y).min().unwrap_or(0);
                let children = |node: &Node, variable| match node {
                    Node::Branch { variable: own, children } if *own == variable => {
                        Some(Rc::clone(children))
                    }
                    _ => None,
                };
                let (xs, ys) = (children(&first, variable), children(&second, variable));
                let len = xs.as_ref().or(ys.as_ref()).map_or(0, |children| children.len());
                let child = |list: &Option<Rc<[Ref]>>, at: usize, whole| {
                    list.as_ref().and_then(|list| list.get(at).copied()).unwrap_or(whole)
                };
                let mut each = Vec::with_capacity(len);
                for at in 0..len {
                    let (a, b) = (child(&xs, at, a), child(&ys, at, b));
                    each.push(self.combine_at(a, b, operation, known)?);
                }
                self.branch(variable as usize, each)
            }
        };
        if self.size > MAX_SIZE {
            return Err(TooLarge);
        }
        known.insert((a, b), combined);
        Ok(combined)
    }

    fn node(&self, at: Ref) -> Option<&Node> {
        self.nodes.get(at.0 as usize)
    }

    fn keep(&mut self, node: Node) -> Ref {
        if let Some(&known) = self.known.get(&node) {
            return known;
        }
        let at = Ref(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        if let Node::Branch { children, .. } = &node {
            self.size += children.len();
        }
        self.size += 1;
        self.nodes.push(node.clone());
        self.known.insert(node, at);
        at
    }
}

impl Node {
    fn value(&self) -> Option<u32> {
        match self {
            Self::Leaf(value) => Some(*value),
            Self::Branch { .. } => None,
        }
    }

    fn variable(&self) -> Option<u32> {
        match self {
            Self::Leaf(_) => None,
            Self::Branch { variable, .. } => Some(*variable),
        }
    }
}

fn set(way: &mut Assignment, variable: u32, option: Option<usize>) {
    if let Some(slot) = way.get_mut(variable as usize) {
        *slot = option;
    }
}

/// Nodes and children together: some hundred megabytes and some seconds at worst.
const MAX_SIZE: usize = 4_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_functions_are_one() {
        let mut diagrams = Diagrams::default();
        let (no, yes) = (diagrams.leaf(0), diagrams.leaf(1));
        let x = diagrams.branch(0, vec![no, yes, no]);
        let y = diagrams.branch(1, vec![no, yes]);
        let or = |a, b| a | b;
        let both = diagrams.combine(x, y, &or).unwrap();
        assert_eq!(diagrams.combine(y, x, &or).unwrap(), both);
        let and = |a, b| a & b;
        let absorbed = diagrams.combine(x, both, &and).unwrap();
        assert_eq!(absorbed, x, "x and (x or y) is x");
        assert_eq!(diagrams.branch(0, vec![yes, yes, yes]), yes);
    }

    #[test]
    fn each_value_comes_with_a_way_to_it() {
        let mut diagrams = Diagrams::default();
        let leaves: Vec<_> = (0..4).map(|value| diagrams.leaf(value)).collect();
        let low = diagrams.branch(1, vec![leaves[1], leaves[2]]);
        let all = diagrams.branch(0, vec![leaves[0], low, leaves[3]]);
        let ways = [vec![Some(0), None], vec![Some(1), Some(0)], vec![Some(1), Some(1)]];
        let values = diagrams.values(all, 2);
        assert_eq!(values.len(), 4);
        for (value, way) in ways.into_iter().enumerate() {
            assert!(values.contains(&(u32::try_from(value).unwrap(), way)));
        }
        assert_eq!(diagrams.restrict_first(all, 0, 1), low);
    }
}
