<%@ page session="false" contentType="text/plain; charset=UTF-8" trimDirectiveWhitespaces="true" %>
<%
    out.print(request.getSession(false) == null ? "nobody" : request.getSession(false).getAttribute("user"));
%>
