//! Which of the chains that an authority offers (RFC 8555 section 7.4.2).

use super::{Expect, Order, State};
use crate::{
    acme::{http::Response, session::Goal},
    failure::{Failure, FailureClass},
};

impl Order {
    pub(super) fn handle_chain(
        &mut self,
        answer: &Response,
        doing: &'static str,
        is_first: bool,
    ) -> Result<(), Failure> {
        let text = std::str::from_utf8(&answer.body).map_err(|_| {
            Failure::because(FailureClass::Certificate, doing, "it is not PEM text")
        })?;
        self.chain = Some(text.to_owned());
        self.state = State::Done;
        if is_first && !self.leads_to_preferred(text) {
            self.resource.authorizations =
                answer.links("alternate").map(ToOwned::to_owned).collect();
            self.read_other_chain(0);
        }
        Ok(())
    }

    pub(super) fn handle_other_chain(&mut self, answer: &Response, expect: Expect) {
        let Expect::OtherChain(at) = expect else { return };
        match std::str::from_utf8(&answer.body) {
            Ok(text) if self.leads_to_preferred(text) => {
                self.chain = Some(text.to_owned());
                self.state = State::Done;
            }
            _ => self.read_other_chain(at + 1),
        }
    }

    /// Reads another chain, if there is one; else the first will do.
    fn read_other_chain(&mut self, at: usize) {
        self.state = match self.resource.authorizations.get(at).filter(|_| at < MAX_OTHER_CHAINS) {
            Some(url) => {
                State::Send(Goal::read(url, "download another chain"), Expect::OtherChain(at))
            }
            None => State::Done,
        };
    }

    fn leads_to_preferred(&self, chain: &str) -> bool {
        let Some(wanted) = &self.wishes.preferred_root else { return true };
        let Ok(certificates) = crate::pem::certificates(chain.as_bytes()) else { return false };
        let Some(last) = certificates.last() else { return false };
        let Ok(last) = crate::certificate::parse(0, last) else { return false };
        let mut names = last.issuer().iter_common_name().filter_map(|name| name.as_str().ok());
        names.any(|name| name == wanted)
    }
}

const MAX_OTHER_CHAINS: usize = 8;
