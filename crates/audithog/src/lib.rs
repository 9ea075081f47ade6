//! One audit row for every HTTP request.
