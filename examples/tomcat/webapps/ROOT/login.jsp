<%@ page session="true" contentType="text/plain; charset=UTF-8" trimDirectiveWhitespaces="true" %>
<%
    // A new id on login, so that one that somebody knew before is worth nothing.
    request.changeSessionId();
    session.setAttribute("user", request.getParameter("user"));
    out.print(session.getAttribute("user"));
%>
