<%@ page session="false" contentType="text/plain; charset=UTF-8" trimDirectiveWhitespaces="true" %>
<%
    if (request.getSession(false) != null) {
        request.getSession(false).invalidate();
    }
    out.print("bye");
%>
