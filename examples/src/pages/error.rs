//! Something broke on the way between the visitor and the origin.

use askama::Template;

use crate::locale::Locale;

/// Tells a visitor what went wrong, where on the way, and the one thing to do next.
///
/// A picture shows the way (visitor, edge, connector, origin) and where it ends, which is
/// [`Problem::fault`].
#[derive(Debug, Clone, Template)]
#[template(path = "error.html", whitespace = "minimize")]
pub struct ErrorPage {
    /// Language of the page.
    pub locale: Locale,
    /// Status of the response, 400 to 599.
    pub status: u16,
    /// Host of the application, if it is one we know.
    pub application: Option<String>,
    /// Id of the request, for asking about it.
    pub request_id: String,
    /// What went wrong.
    pub problem: Problem,
    /// URL for the next step; no button if absent. Leave it out where repeating does harm.
    pub next_href: Option<String>,
    /// URL of the same page in [`Locale::other`]; no switch if absent.
    pub language_href: Option<String>,
}

impl ErrorPage {
    /// Renders the complete HTML document.
    #[must_use]
    pub fn to_html(&self) -> String {
        super::render(self)
    }

    fn title(&self) -> &'static str {
        self.text("headline")
    }

    /// Returns one of the problem's texts: `headline`, `text` or `next`.
    fn text(&self, part: &str) -> &'static str {
        let problem = self.problem.name();
        self.locale.text(&format!("problem.{problem}.{part}"))
    }

    /// Returns the stops in order, each with what the picture says about it.
    fn stops(&self) -> Vec<Stop> {
        let fault = self.problem.fault();
        Fault::ALL
            .into_iter()
            .map(|place| Stop { place, state: StopState::at(place, fault) })
            .collect()
    }

    fn next_label(&self) -> &'static str {
        self.locale.text(match self.problem {
            Problem::LinkExpired => "problem.restart",
            _ => "problem.retry",
        })
    }
}

/// Where on the way a request ended, in the order of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The visitor's own request is the reason.
    Visitor,
    /// The edge is the reason.
    Edge,
    /// The connector is not connected to the edge.
    Connector,
    /// The origin did not answer the connector as it should.
    Origin,
}

impl Fault {
    /// Every variant, from the visitor to the origin.
    pub const ALL: [Self; 4] = [Self::Visitor, Self::Edge, Self::Connector, Self::Origin];

    fn key(self) -> &'static str {
        match self {
            Self::Visitor => "path.visitor",
            Self::Edge => "path.edge",
            Self::Connector => "path.connector",
            Self::Origin => "path.origin",
        }
    }
}

/// What went wrong, as far as a visitor can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Problem {
    /// The connector could not connect to the origin.
    OriginUnreachable,
    /// The origin took the request and did not answer in time.
    OriginTimeout,
    /// The origin closed the connection before its answer was complete.
    OriginBrokeOff,
    /// The connector was lost while it worked on the request.
    TunnelBrokeOff,
    /// Every connection of this tunnel has as many requests as it may.
    TunnelBusy,
    /// No connector of this tunnel is connected.
    ConnectorOffline,
    /// The request's headers are larger than the edge accepts.
    HeaderTooLarge,
    /// The edge does not know the host.
    NotFoundHere,
    /// The request is not valid HTTP, or not one that the edge passes on.
    BadRequest,
    /// The visitor's network has used up its share for now.
    TooManyRequests,
    /// The edge cannot sign anyone in, for instance because its store is away.
    LoginUnavailable,
    /// The edge ended a session and could not note it for good.
    SignOutNotKept,
    /// The sign-in that a link or form belongs to is not there any more.
    LinkExpired,
    /// A page of the edge does not have this method.
    MethodNotAllowed,
}

impl Problem {
    /// Every variant.
    pub const ALL: [Self; 14] = [
        Self::OriginUnreachable,
        Self::OriginTimeout,
        Self::OriginBrokeOff,
        Self::TunnelBrokeOff,
        Self::TunnelBusy,
        Self::ConnectorOffline,
        Self::HeaderTooLarge,
        Self::NotFoundHere,
        Self::BadRequest,
        Self::TooManyRequests,
        Self::LoginUnavailable,
        Self::SignOutNotKept,
        Self::LinkExpired,
        Self::MethodNotAllowed,
    ];

    /// Returns where on the way the request ended.
    pub fn fault(self) -> Fault {
        match self {
            Self::OriginUnreachable | Self::OriginTimeout | Self::OriginBrokeOff => Fault::Origin,
            Self::TunnelBrokeOff | Self::TunnelBusy | Self::ConnectorOffline => Fault::Connector,
            Self::NotFoundHere | Self::LoginUnavailable | Self::SignOutNotKept => Fault::Edge,
            Self::HeaderTooLarge
            | Self::BadRequest
            | Self::TooManyRequests
            | Self::LinkExpired
            | Self::MethodNotAllowed => Fault::Visitor,
        }
    }

    /// Returns the middle of this problem's keys in the catalogue.
    fn name(self) -> &'static str {
        match self {
            Self::OriginUnreachable => "origin_unreachable",
            Self::OriginTimeout => "origin_timeout",
            Self::OriginBrokeOff => "origin_broke_off",
            Self::TunnelBrokeOff => "tunnel_broke_off",
            Self::TunnelBusy => "tunnel_busy",
            Self::ConnectorOffline => "connector_offline",
            Self::HeaderTooLarge => "header_too_large",
            Self::NotFoundHere => "not_found_here",
            Self::BadRequest => "bad_request",
            Self::TooManyRequests => "too_many_requests",
            Self::LoginUnavailable => "login_unavailable",
            Self::SignOutNotKept => "sign_out_not_kept",
            Self::LinkExpired => "link_expired",
            Self::MethodNotAllowed => "method_not_allowed",
        }
    }
}

/// One stop of the picture.
struct Stop {
    place: Fault,
    state: StopState,
}

impl Stop {
    fn key(&self) -> &'static str {
        match (self.state, self.place) {
            (StopState::Passed, _) => "path.passed",
            // The request did arrive at the edge, so it cannot have stopped at the visitor.
            (StopState::Broken, Fault::Visitor) => "path.check",
            (StopState::Broken, _) => "path.broken",
            (StopState::Beyond, _) => "path.beyond",
        }
    }
}

#[derive(Clone, Copy)]
enum StopState {
    Passed,
    Broken,
    Beyond,
}

impl StopState {
    fn at(place: Fault, fault: Fault) -> Self {
        if place == fault {
            Self::Broken
        } else if place < fault || place == Fault::Edge {
            // The edge is what answers: it was reached even if the visitor's request is at fault.
            Self::Passed
        } else {
            Self::Beyond
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Broken => "broken",
            Self::Beyond => "beyond",
        }
    }
}
