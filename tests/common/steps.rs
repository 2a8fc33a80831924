//! What can happen to a node and its peer, in every order.

/// What can happen, in any order in which [`Step::FirstGoes`] comes after [`Step::Listen`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Listen,
    FirstPoll,
    Subscribe,
    Connect,
    ListenAgain,
    FirstGoes,
}

/// All orders that are possible: half of 6!.
pub(crate) fn orders() -> Vec<Vec<Step>> {
    use Step::*;

    fn extend(order: &mut Vec<Step>, orders: &mut Vec<Vec<Step>>) {
        const ALL: [Step; 6] = [
            Listen,
            FirstPoll,
            Subscribe,
            Connect,
            ListenAgain,
            FirstGoes,
        ];
        if order.len() == ALL.len() {
            orders.push(order.clone());
        }
        for step in ALL {
            if !order.contains(&step) && (step != FirstGoes || order.contains(&Listen)) {
                order.push(step);
                extend(order, orders);
                order.pop();
            }
        }
    }
    let mut orders = Vec::new();
    extend(&mut Vec::new(), &mut orders);
    orders
}
